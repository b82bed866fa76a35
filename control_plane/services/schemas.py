"""Administers the custom schemas of tenants, and tells what a tenant's discovery endpoints say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson

from control_plane.domain.errors import FailedPrecondition, InvalidArgument, NotFound
from control_plane.domain.ids import TenantId
from control_plane.domain.resources import ResourceType
from control_plane.domain.schemas import CustomSchema
from control_plane.runtime.clock import Clock
from control_plane.scim import discovery
from control_plane.scim.compare import fold
from control_plane.scim.errors import InvalidValue, Mutability, Uniqueness
from control_plane.scim.schema import Schema
from control_plane.scim.schema_definition import (
    MAX_EXTENSIONS,
    MAX_TENANT_ATTRIBUTES,
    MAX_TENANT_BYTES,
    Extension,
    attribute_count,
    check_change,
    check_extension,
    from_json,
    to_json,
)
from control_plane.services.caller import Caller, Deed, Scribe
from control_plane.services.tenant_rules import TenantRules
from control_plane.storage import audit, schemas, tenants
from control_plane.storage.engine import Storage, Tx

# A million resources are looked through in a few seconds; the policy table gives DeleteSchema 30 s.
SEARCH_TIMEOUT_S = 25.0
# The clocks of two control planes differ by less.
CLOCK_SKEW = timedelta(minutes=1)
EVER = datetime(1970, 1, 1, tzinfo=UTC)


class SchemaService:
    """The use cases of muster.directory.v1.SchemaService."""

    def __init__(self, storage: Storage, clock: Clock, rules: TenantRules) -> None:
        self._storage, self._clock, self._rules, self._scribe = storage, clock, rules, Scribe(clock)

    async def create(self, caller: Caller, tenant: TenantId, extension: Extension) -> CustomSchema:
        """Create an extension; Uniqueness if the tenant has one of that URN, in any case.

        FailedPrecondition if the tenant has as many as it may, or if they would be too large together.
        """
        now = self._clock.now()
        new = CustomSchema(_canonical(extension), now, now)
        async with self._storage.begin(tenant) as tx:
            # Locked, so that two who create at once cannot both be the last one allowed.
            await tenants.require(tx, tenant, lock=True)
            others = await schemas.list_all(tx)
            if any(fold(each.urn) == fold(new.urn) for each in others):
                raise Uniqueness(f"the tenant has a schema {new.urn} already")
            if len(others) >= MAX_EXTENSIONS:
                raise FailedPrecondition(f"the tenant has {MAX_EXTENSIONS} custom schemas, which is the limit")
            with _said_in_our_words():
                check_extension(new.extension, [each.extension for each in others])
            _refuse_too_large([new, *others])
            await schemas.insert(tx, new)
            names = [each.name for each in extension.schema.attributes]
            await self._record(tx, caller, tenant, "create", new, attributes=names)
        self._rules.forget(tenant)
        return new

    async def get(self, tenant: TenantId, urn: str) -> CustomSchema:
        """Return an extension by its URN in any case; NotFound if the tenant has none."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            return await self._get(tx, urn)

    async def list(self, tenant: TenantId) -> list[CustomSchema]:
        """Return all extensions of a tenant, in order of creation."""
        async with self._storage.begin(tenant, read_only=True) as tx:
            return await schemas.list_all(tx)

    async def update(
        self, caller: Caller, tenant: TenantId, schema: Schema, resource_type: ResourceType | None
    ) -> CustomSchema:
        """Replace the extension that ``schema.id`` names in any case; FailedPrecondition if stored data might object.

        The URN keeps its spelling. ``resource_type`` may be given, but not changed. What changes nothing leaves no
        trace.
        """
        async with self._storage.begin(tenant) as tx:
            # Locked as in create: two who add attributes at once must not pass the limit together.
            await tenants.require(tx, tenant, lock=True)
            old = await self._get(tx, schema.id, lock=True)
            if resource_type not in (None, old.resource_type):
                raise InvalidArgument("schema.resource_type", f"stays {old.resource_type.scim_name}")
            extension = _canonical(replace(old.extension, schema=replace(schema, id=old.urn)))
            if extension == old.extension:
                return old
            with _said_in_our_words():
                check_change(old.extension, extension)
            new = replace(old, extension=extension, updated_at=self._clock.now())
            _refuse_too_large([new, *(each for each in await schemas.list_all(tx) if each.urn != old.urn)])
            await schemas.update(tx, new)
            await self._record(tx, caller, tenant, "update", new, changed=_changed(old.extension, extension))
        self._rules.forget(tenant)
        return new

    async def delete(self, caller: Caller, tenant: TenantId, urn: str) -> None:
        """Delete an extension; FailedPrecondition while a resource has values of it.

        A write that began before, and by the rules of then, may still leave values behind; they are dropped with the
        next PUT of that resource.
        """
        began = self._clock.now()
        async with self._storage.begin(tenant, read_only=True, timeout_s=SEARCH_TIMEOUT_S) as tx:
            await self._refuse_in_use(tx, await self._get(tx, urn), since=EVER)
        # Whoever writes just now is waited for, so only what changed since the long search is looked at.
        async with self._storage.begin(tenant, exclusive=True) as tx:
            await tenants.require(tx, tenant)
            gone = await self._get(tx, urn, lock=True)
            await self._refuse_in_use(tx, gone, since=began - CLOCK_SKEW)
            await schemas.delete(tx, gone)
            await self._record(tx, caller, tenant, "delete", gone)
        self._rules.forget(tenant)

    async def discovery(self, tenant: TenantId, kind: str, wanted: str, base: str) -> str:
        """Return the JSON that a discovery endpoint answers (``scim.discovery.body``); ResourceNotFound."""
        rules = await self._rules.get(tenant)
        return orjson.dumps(discovery.body(kind, wanted, base, rules)).decode()

    async def _get(self, tx: Tx, urn: str, *, lock: bool = False) -> CustomSchema:
        found = await schemas.get(tx, urn, lock=lock)
        if found is None:
            raise NotFound("schema", urn)
        return found

    async def _refuse_in_use(self, tx: Tx, schema: CustomSchema, since: datetime) -> None:
        if await schemas.is_used(tx, schema, since):
            nouns = f"{schema.resource_type.noun}s"
            raise FailedPrecondition(f"{nouns} have values of {schema.urn}: remove these first")

    async def _record(
        self, tx: Tx, caller: Caller, tenant: TenantId, verb: str, schema: CustomSchema, **details: object
    ) -> None:
        """Write the audit event of a change and tell every control plane."""
        says = {"name": schema.extension.schema.name, "extends": schema.extension.resource_type, **details}
        deed = Deed(f"schema.{verb}", "schema", schema.urn, says)
        await audit.append(tx, [self._scribe.event(tenant, caller, deed)])
        await self._rules.notify(tx, tenant)


def _canonical(extension: Extension) -> Extension:
    """Return the extension as it reads when it comes back from the database: without what means nothing for a type."""
    return from_json(to_json(extension))


@contextmanager
def _said_in_our_words() -> Iterator[None]:
    """Raise InvalidArgument for a definition that is wrong, FailedPrecondition for one that comes too late."""
    try:
        yield
    except InvalidValue as err:
        raise InvalidArgument("schema", err.detail) from err
    except Mutability as err:
        raise FailedPrecondition(err.detail) from err


def _refuse_too_large(all_of_tenant: Sequence[CustomSchema]) -> None:
    """Raise FailedPrecondition if /Schemas would be more than one answer should be."""
    count = sum(attribute_count(each.extension) for each in all_of_tenant)
    if count > MAX_TENANT_ATTRIBUTES:
        limit = f"{MAX_TENANT_ATTRIBUTES} attributes and sub-attributes"
        raise FailedPrecondition(f"the tenant's custom schemas would have {count} of at most {limit}")
    size_bytes = sum(len(orjson.dumps(to_json(each.extension))) for each in all_of_tenant)
    if size_bytes > MAX_TENANT_BYTES:
        limit = f"{MAX_TENANT_BYTES} bytes as JSON"
        raise FailedPrecondition(f"the tenant's custom schemas would have {size_bytes} of at most {limit}")


def _changed(old: Extension, new: Extension) -> list[str]:
    """Return what differs: "name", "description", and the names of attributes."""
    before = {each.name: each for each in old.schema.attributes}
    fields = [each for each in ("name", "description") if getattr(old.schema, each) != getattr(new.schema, each)]
    return fields + [each.name for each in new.schema.attributes if before.get(each.name) != each]
