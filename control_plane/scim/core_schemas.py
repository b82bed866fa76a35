"""User, EnterpriseUser and Group as data, in the wording of RFC 7643 section 8.7.1.

Where the section's JSON and the RFC's text disagree, the text wins: references and ids are caseExact (sections 2.3.7
and 3.1), a Group needs its displayName (section 4.2). ``canonicalValues`` are suggestions and never enforced.
"""

from control_plane.scim.schema import Attribute, AttributeType, Mutability, ResourceType, Returned, Schema, Uniqueness

USER_URN = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_URN = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE_URN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

_DISPLAY = Attribute("display", description="A human-readable name, primarily used for display purposes.  READ-ONLY.")
_NO_TWO_PRIMARIES = "The primary attribute value 'true' MUST appear no more than once."
_LABEL = "A label indicating the attribute's function"


def _complex(name: str, description: str, *subs: Attribute) -> Attribute:
    return Attribute(name, AttributeType.COMPLEX, description, sub_attributes=subs)


def _plural(name: str, description: str, *subs: Attribute) -> Attribute:
    return Attribute(name, AttributeType.COMPLEX, description, multi_valued=True, sub_attributes=subs)


def _label(examples: str = "", *values: str) -> Attribute:
    return Attribute("type", description=f"{_LABEL}{examples}.", canonical_values=values)


def _primary(example: str = "") -> Attribute:
    preferred = f"the 'primary' or preferred attribute value for this attribute{example}"
    text = f"A Boolean value indicating {preferred}.  {_NO_TWO_PRIMARIES}"
    return Attribute("primary", AttributeType.BOOLEAN, text)


def _reference(name: str, description: str, *types: str, mutability: Mutability = Mutability.READ_WRITE) -> Attribute:
    return Attribute(
        name, AttributeType.REFERENCE, description, case_exact=True, mutability=mutability, reference_types=types
    )


def _read_only(name: str, description: str = "", kind: AttributeType = AttributeType.STRING) -> Attribute:
    return Attribute(name, kind, description, case_exact=True, mutability=Mutability.READ_ONLY)


# RFC 7643 section 3.1 and 3: part of every resource and of no schema.
COMMON_ATTRIBUTES = (
    Attribute("id", case_exact=True, mutability=Mutability.READ_ONLY, returned=Returned.ALWAYS),
    Attribute("externalId", case_exact=True),
    Attribute(
        "schemas",
        AttributeType.REFERENCE,
        multi_valued=True,
        case_exact=True,
        mutability=Mutability.READ_ONLY,
        returned=Returned.ALWAYS,
    ),
    Attribute(
        "meta",
        AttributeType.COMPLEX,
        mutability=Mutability.READ_ONLY,
        sub_attributes=(
            _read_only("resourceType"),
            _read_only("created", kind=AttributeType.DATE_TIME),
            _read_only("lastModified", kind=AttributeType.DATE_TIME),
            _read_only("location", kind=AttributeType.REFERENCE),
            _read_only("version"),
        ),
    ),
)

_NAME = _complex(
    "name",
    "The components of the user's real name. Providers MAY return just the full name as a single string in the "
    "formatted sub-attribute, or they MAY return just the individual component attributes using the other "
    "sub-attributes, or they MAY return both.  If both variants are returned, they SHOULD be describing the same name, "
    "with the formatted name indicating how the component attributes should be combined.",
    Attribute(
        "formatted",
        description="The full name, including all middle names, titles, and suffixes as appropriate, formatted for "
        "display (e.g., 'Ms. Barbara J Jensen, III').",
    ),
    Attribute(
        "familyName",
        description="The family name of the User, or last name in most Western languages (e.g., 'Jensen' given the "
        "full name 'Ms. Barbara J Jensen, III').",
    ),
    Attribute(
        "givenName",
        description="The given name of the User, or first name in most Western languages (e.g., 'Barbara' given the "
        "full name 'Ms. Barbara J Jensen, III').",
    ),
    Attribute(
        "middleName",
        description="The middle name(s) of the User (e.g., 'Jane' given the full name 'Ms. Barbara J Jensen, III').",
    ),
    Attribute(
        "honorificPrefix",
        description="The honorific prefix(es) of the User, or title in most Western languages (e.g., 'Ms.' given the "
        "full name 'Ms. Barbara J Jensen, III').",
    ),
    Attribute(
        "honorificSuffix",
        description="The honorific suffix(es) of the User, or suffix in most Western languages (e.g., 'III' given the "
        "full name 'Ms. Barbara J Jensen, III').",
    ),
)

_SINGULAR = (
    Attribute(
        "displayName",
        description="The name of the User, suitable for display to end-users.  The name SHOULD be the full name of the "
        "User being described, if known.",
    ),
    Attribute(
        "nickName",
        description="The casual way to address the user in real life, e.g., 'Bob' or 'Bobby' instead of 'Robert'.  "
        "This attribute SHOULD NOT be used to represent a User's username (e.g., 'bjensen' or 'mpepperidge').",
    ),
    _reference(
        "profileUrl",
        "A fully qualified URL pointing to a page representing the User's online profile.",
        "external",
    ),
    Attribute("title", description='The user\'s title, such as "Vice President."'),
    Attribute(
        "userType",
        description="Used to identify the relationship between the organization and the user.  Typical values used "
        "might be 'Contractor', 'Employee', 'Intern', 'Temp', 'External', and 'Unknown', but any value may be used.",
    ),
    Attribute(
        "preferredLanguage",
        description="Indicates the User's preferred written or spoken language.  Generally used for selecting a "
        "localized user interface; e.g., 'en_US' specifies the language English and country US.",
    ),
    Attribute(
        "locale",
        description="Used to indicate the User's default location for purposes of localizing items such as currency, "
        "date time format, or numerical representations.",
    ),
    Attribute(
        "timezone",
        description="The User's time zone in the 'Olson' time zone database format, e.g., 'America/Los_Angeles'.",
    ),
    Attribute("active", AttributeType.BOOLEAN, "A Boolean value indicating the User's administrative status."),
    # Never stored: there is no account here to log in to, and target apps take passwords from nobody but the user.
    Attribute(
        "password",
        description="The User's cleartext password.  This attribute is intended to be used as a means to specify an "
        "initial password when creating a new User or to reset an existing User's password.",
        case_exact=True,
        mutability=Mutability.WRITE_ONLY,
        returned=Returned.NEVER,
        advertised=False,
    ),
)

_EMAIL = (
    "Email addresses for the user.  The value SHOULD be canonicalized by the service provider, e.g., "
    "'bjensen@example.com' instead of 'bjensen@EXAMPLE.COM'. Canonical type values of 'work', 'home', and 'other'."
)
_PLURAL = (
    _plural(
        "emails",
        _EMAIL,
        Attribute("value", description=_EMAIL),
        _DISPLAY,
        _label(", e.g., 'work' or 'home'", "work", "home", "other"),
        _primary(", e.g., the preferred mailing address or primary email address"),
    ),
    _plural(
        "phoneNumbers",
        "Phone numbers for the User.  The value SHOULD be canonicalized by the service provider according to the "
        "format specified in RFC 3966, e.g., 'tel:+1-201-555-0123'. Canonical type values of 'work', 'home', 'mobile', "
        "'fax', 'pager', and 'other'.",
        Attribute("value", description="Phone number of the User."),
        _DISPLAY,
        _label(", e.g., 'work', 'home', 'mobile'", "work", "home", "mobile", "fax", "pager", "other"),
        _primary(", e.g., the preferred phone number or primary phone number"),
    ),
    _plural(
        "ims",
        "Instant messaging addresses for the User.",
        Attribute("value", description="Instant messaging address for the User."),
        _DISPLAY,
        _label(", e.g., 'aim', 'gtalk', 'xmpp'", "aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"),
        _primary(", e.g., the preferred messenger or primary messenger"),
    ),
    _plural(
        "photos",
        "URLs of photos of the User.",
        _reference("value", "URL of a photo of the User.", "external"),
        _DISPLAY,
        _label(", i.e., 'photo' or 'thumbnail'", "photo", "thumbnail"),
        _primary(", e.g., the preferred photo or thumbnail"),
    ),
    _plural(
        "addresses",
        "A physical mailing address for this User. Canonical type values of 'work', 'home', and 'other'.  This "
        "attribute is a complex type with the following sub-attributes.",
        Attribute(
            "formatted",
            description="The full mailing address, formatted for display or use with a mailing label.  This attribute "
            "MAY contain newlines.",
        ),
        Attribute(
            "streetAddress",
            description="The full street address component, which may include house number, street name, P.O. box, and "
            "multi-line extended street address information.  This attribute MAY contain newlines.",
        ),
        Attribute("locality", description="The city or locality component."),
        Attribute("region", description="The state or region component."),
        Attribute("postalCode", description="The zip code or postal code component."),
        Attribute("country", description="The country name component."),
        _label(", e.g., 'work' or 'home'", "work", "home", "other"),
        _primary(", e.g., the preferred address"),
    ),
    # Read from the memberships, never written here.
    Attribute(
        "groups",
        AttributeType.COMPLEX,
        "A list of groups to which the user belongs, either through direct membership, through nested groups, or "
        "dynamically calculated.",
        multi_valued=True,
        mutability=Mutability.READ_ONLY,
        sub_attributes=(
            _read_only("value", "The identifier of the User's group."),
            Attribute(
                "$ref",
                AttributeType.REFERENCE,
                "The URI of the corresponding 'Group' resource to which the user belongs.",
                mutability=Mutability.READ_ONLY,
                reference_types=("Group",),
            ),
            Attribute(
                "display",
                description="A human-readable name, primarily used for display purposes.  READ-ONLY.",
                mutability=Mutability.READ_ONLY,
            ),
            Attribute(
                "type",
                description=f"{_LABEL}, e.g., 'direct' or 'indirect'.",
                canonical_values=("direct", "indirect"),
                mutability=Mutability.READ_ONLY,
            ),
        ),
    ),
    _plural(
        "entitlements",
        "A list of entitlements for the User that represent a thing the User has.",
        Attribute("value", description="The value of an entitlement."),
        _DISPLAY,
        _label(),
        _primary(),
    ),
    _plural(
        "roles",
        "A list of roles for the User that collectively represent who the User is, e.g., 'Student', 'Faculty'.",
        Attribute("value", description="The value of a role."),
        _DISPLAY,
        _label(),
        _primary(),
    ),
    _plural(
        "x509Certificates",
        "A list of certificates issued to the User.",
        Attribute("value", AttributeType.BINARY, "The value of an X.509 certificate.", case_exact=True),
        _DISPLAY,
        _label(),
        _primary(),
    ),
)

USER = Schema(
    USER_URN,
    "User",
    "User Account",
    (
        Attribute(
            "userName",
            description="Unique identifier for the User, typically used by the user to directly authenticate to the "
            "service provider. Each User MUST include a non-empty userName value.  This identifier MUST be unique "
            "across the service provider's entire set of Users. REQUIRED.",
            required=True,
            uniqueness=Uniqueness.SERVER,
        ),
        _NAME,
        *_SINGULAR,
        *_PLURAL,
    ),
)

ENTERPRISE_USER = Schema(
    ENTERPRISE_URN,
    "EnterpriseUser",
    "Enterprise User",
    (
        Attribute(
            "employeeNumber",
            description="Numeric or alphanumeric identifier assigned to a person, typically based on order of hire or "
            "association with an organization.",
        ),
        Attribute("costCenter", description="Identifies the name of a cost center."),
        Attribute("organization", description="Identifies the name of an organization."),
        Attribute("division", description="Identifies the name of a division."),
        Attribute("department", description="Identifies the name of a department."),
        _complex(
            "manager",
            "The User's manager.  A complex type that optionally allows service providers to represent organizational "
            "hierarchy by referencing the 'id' attribute of another User.",
            Attribute(
                "value",
                description="The id of the SCIM resource representing the User's manager.  REQUIRED.",
                case_exact=True,
            ),
            _reference("$ref", "The URI of the SCIM resource representing the User's manager.  REQUIRED.", "User"),
            Attribute(
                "displayName",
                description="The displayName of the User's manager. OPTIONAL and READ-ONLY.",
                mutability=Mutability.READ_ONLY,
            ),
        ),
    ),
)

GROUP = Schema(
    GROUP_URN,
    "Group",
    "Group",
    (
        Attribute("displayName", description="A human-readable name for the Group. REQUIRED.", required=True),
        _plural(
            "members",
            "A list of members of the Group.",
            Attribute(
                "value",
                description="Identifier of the member of this Group.",
                case_exact=True,
                mutability=Mutability.IMMUTABLE,
            ),
            _reference(
                "$ref",
                "The URI corresponding to a SCIM resource that is a member of this Group.",
                "User",
                "Group",
                mutability=Mutability.IMMUTABLE,
            ),
            Attribute(
                "type",
                description="A label indicating the type of resource, e.g., 'User' or 'Group'.",
                canonical_values=("User", "Group"),
                mutability=Mutability.IMMUTABLE,
            ),
            # Ours comes from the member itself, so that it cannot go stale; what a client sends is ignored.
            Attribute(
                "display",
                description="A human-readable name for the group member, primarily used for display purposes.",
                mutability=Mutability.READ_ONLY,
            ),
        ),
    ),
)

DEFAULT_SCHEMAS = (USER, GROUP, ENTERPRISE_USER)
# User first: Microsoft's test collection reads Resources[0] of /ResourceTypes.
DEFAULT_RESOURCE_TYPES = (
    ResourceType("User", "/Users", "User Account", USER_URN, (ENTERPRISE_URN,)),
    ResourceType("Group", "/Groups", "Group", GROUP_URN),
)
