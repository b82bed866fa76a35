"""The users of the bench: what Microsoft Entra ID sends for one, 1.4 kB with the enterprise extension; and requests."""

from uuid import UUID

import orjson

from tests.bench.http_load import KEY_DIGITS

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
# Where the key of a request goes; as long as a key, so that Content-Length is the same for all.
PLACEHOLDER = b"#" * KEY_DIGITS
# Seeded users have ids that a number gives, so that any client can draw one at random.
SEEDED_ID_PREFIX = "01900000-0000-7000-8000-"


def user_document(key: str) -> dict[str, object]:
    """Return a user whose userName, e-mail and externalId carry ``key``."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
        "externalId": f"8aa1a0c0-c4c3-4bc0-b4a5-{key}",
        "userName": f"adele.vance.{key}@contoso.example",
        "active": True,
        "displayName": "Adele Vance",
        "nickName": "Adele",
        "title": "Retail Manager",
        "userType": "Member",
        "preferredLanguage": "en-US",
        "locale": "en-US",
        "timezone": "America/Los_Angeles",
        "name": {"formatted": "Ms. Adele Vance", "familyName": "Vance", "givenName": "Adele", "honorificPrefix": "Ms."},
        "emails": [
            {"type": "work", "value": f"adele.vance.{key}@contoso.example", "primary": True},
            {"type": "home", "value": f"adele.{key}@mail.example"},
        ],
        "phoneNumbers": [
            {"type": "work", "value": "+1 425 555 0109"},
            {"type": "mobile", "value": "+1 206 555 0185"},
            {"type": "fax", "value": "+1 425 555 0100"},
        ],
        "addresses": [
            {
                "type": "work",
                "formatted": "18/2111, 9256 Towne Center Dr., Suite 400",
                "streetAddress": "9256 Towne Center Dr., Suite 400",
                "locality": "San Diego",
                "region": "CA",
                "postalCode": "92121",
                "country": "US",
                "primary": True,
            },
            {"type": "home", "locality": "Carlsbad", "region": "CA", "postalCode": "92008", "country": "US"},
        ],
        ENTERPRISE: {
            "employeeNumber": "118042",
            "costCenter": "4130",
            "organization": "Contoso",
            "division": "Retail",
            "department": "Retail Operations",
            "manager": {"value": "8aa1a0c0-c4c3-4bc0-b4a5-000000000000"},
        },
    }


def user_body(number: int) -> bytes:
    """Return the JSON of user ``number``."""
    return orjson.dumps(user_document(f"{number:0{KEY_DIGITS}d}"))


def seeded_id(number: int) -> UUID:
    """Return the id of seeded user ``number``."""
    return UUID(f"{SEEDED_ID_PREFIX}{number:012x}")


def seeded_name(number: int) -> str:
    """Return the userName of seeded user ``number``."""
    return str(user_document(f"{number:0{KEY_DIGITS}d}")["userName"])


def create_template(token: str) -> list[bytes]:
    """Return the parts of a POST that creates a user with a new name each time."""
    body = orjson.dumps(user_document(PLACEHOLDER.decode()))
    return request("POST", "/scim/v2/Users", token, body).split(PLACEHOLDER)


def get_request(token: str, number: int) -> bytes:
    """Return a GET of seeded user ``number``."""
    return request("GET", f"/scim/v2/Users/{seeded_id(number)}", token)


def filter_request(token: str, number: int) -> bytes:
    """Return the look-up that an IdP does before it creates."""
    name = seeded_name(number).replace("@", "%40")
    return request("GET", f"/scim/v2/Users?filter=userName%20eq%20%22{name}%22", token)


def patch_request(token: str, number: int, title: str) -> bytes:
    """Return a PATCH that gives seeded user ``number`` another title."""
    operations = [{"op": "replace", "path": "title", "value": title}]
    body = orjson.dumps({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations})
    return request("PATCH", f"/scim/v2/Users/{seeded_id(number)}", token, body)


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """Return an HTTP/1.1 request as it goes over the wire."""
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Accept: application/scim+json",
    ]
    if body:
        head += ["Content-Type: application/scim+json", f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
