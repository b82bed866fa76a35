"""The certificates of one stack: made anew at each start, one identity for each process and one for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from control_plane.client.tls import ClientTls
from control_plane.devstack.errors import StartFailed
from control_plane.runtime.development_ca import CaError, DevelopmentCa, Issued

CA_DAYS, LEAF_DAYS = 3650, 365
FOLDER, ADMIN = "certs", "admin/dev"


@dataclass(frozen=True, slots=True)
class Certificates:
    """What was made, by identity such as "worker/1"."""

    issued: dict[str, Issued]

    @property
    def admin(self) -> ClientTls:
        """What people, the supervisor and its seed call with."""
        one = self.issued[ADMIN]
        return ClientTls(str(one.cert), str(one.key), str(one.ca))

    def settings(self, identity: str) -> dict[str, str]:
        """Return the variables of a process that is ``identity``."""
        one = self.issued[identity]
        return {"MUSTER_TLS_CERT": str(one.cert), "MUSTER_TLS_KEY": str(one.key), "MUSTER_TLS_CA": str(one.ca)}


def make(data_dir: Path, identities: Iterable[str]) -> Certificates:
    """Make the certificates of ``identities``, and people's; StartFailed if the folder is not as we left it."""
    now = datetime.now(UTC)
    try:
        authority = DevelopmentCa.open(data_dir / FOLDER, None, days=CA_DAYS, now=now)
        return Certificates({one: authority.issue(one, days=LEAF_DAYS, now=now) for one in (*identities, ADMIN)})
    except (CaError, OSError) as err:
        raise StartFailed(f"the certificates cannot be made: {err}") from err
