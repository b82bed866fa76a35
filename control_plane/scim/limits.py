"""The limits of the protocol that requests meet and discovery advertises: one place, so that both say the same."""

from dataclasses import dataclass

# A page of a list, and what it is without a "count" (RFC 7644 section 3.4.2.4).
MAX_RESULTS = 200
DEFAULT_COUNT = 100
# RFC 7644 section 3.7.
MAX_BULK_OPERATIONS = 1000
MAX_BULK_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BulkLimits:
    """What a tenant's bulk requests may have; never above the two here."""

    max_operations: int = MAX_BULK_OPERATIONS
    max_bytes: int = MAX_BULK_BYTES


# JSON keys of a whole bulk: 1,000 users with everything that an identity provider knows about them.
MAX_BULK_KEYS = 200_000
# How long after it was made a cursor can be used (RFC 9865 section 2.2).
CURSOR_TIMEOUT_S = 3600
# Elements of a multi-valued attribute, in a body and after a PATCH. Members are rows of their own and exempt.
MAX_ELEMENTS = 1000
# Keys of all the values without a path that a PATCH has: each is a path that must be read.
MAX_PATCH_KEYS = 1000
# Selections of members by anything but their ids in a PATCH: each may have to look at every member.
MAX_MEMBER_SELECTIONS = 20
# A group's members travel inside it up to this many bytes of JSON, and up to domain.resources.INLINE_MEMBERS; else they
# are streamed.
INLINE_MEMBERS_BYTES = 1024 * 1024
# Of a user's groups, at most this many are part of the user, and at most this many bytes of JSON.
INLINE_GROUPS = 5000
INLINE_GROUPS_BYTES = 512 * 1024
# Of the groups of all users in a page: more than each of them alone may show, so that one user can always be shown.
PAGE_GROUPS = 20_000
PAGE_GROUPS_BYTES = 4 * 1024 * 1024
