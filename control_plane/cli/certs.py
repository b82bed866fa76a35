"""`muster certs`: certificates for mutual TLS between Muster's processes, for development."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from control_plane.cli.panels import fail

if TYPE_CHECKING:
    from control_plane.runtime.development_ca import DevelopmentCa

# One identity of each kind: enough for one machine, and replicas may share them.
USUAL = ("control-plane/1", "gateway/1", "worker/1", "admin/1")

app = typer.Typer(name="certs", help="Make certificates for mutual TLS between Muster's processes, for development.")

Folder = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where authority and certificates are kept.")]
TrustDomain = Annotated[
    str | None,
    typer.Option(
        "--trust-domain", metavar="NAME", help="As in MUSTER_TLS_TRUST_DOMAIN; else the authority's, or muster."
    ),
]
Days = Annotated[float, typer.Option("--days", min=0.01, max=825, help="How long a certificate is good.")]
CaDays = Annotated[int, typer.Option("--ca-days", min=1, max=36500, help="How long a new authority is good.")]
Dns = Annotated[
    list[str] | None,
    typer.Option("--dns", metavar="NAME", help="One more name in the control plane's certificate; may be repeated."),
]
Ips = Annotated[
    list[str] | None,
    typer.Option("--ip", metavar="ADDRESS", help="One more address in it; may be repeated."),
]


class Chosen(NamedTuple):
    """What the options before the subcommand say."""

    folder: Path
    trust_domain: str | None
    days: float
    ca_days: int
    dns: list[str]
    ips: list[str]


@app.callback(invoke_without_command=True)
def certs(
    context: typer.Context,
    folder: Folder = Path("certs"),
    trust_domain: TrustDomain = None,
    days: Days = 30,
    ca_days: CaDays = 3650,
    dns: Dns = None,
    ips: Ips = None,
) -> None:
    """Make a development authority, kept and never overwritten, and one certificate for each kind of process.

    Run it again to renew the certificates: processes take the new files within seconds, without a restart.
    """
    context.obj = Chosen(folder.absolute(), trust_domain, days, ca_days, dns or [], ips or [])
    if context.invoked_subcommand is None:
        _issue(context.obj, USUAL)


@app.command("issue")
def issue(
    context: typer.Context,
    identities: Annotated[
        list[str], typer.Argument(metavar="ROLE/ID...", help="control-plane, gateway, worker or admin, and a name.")
    ],
) -> None:
    """Make or renew certificates of single identities, such as worker/eu-1."""
    _issue(context.obj, identities)


def _issue(chosen: Chosen, identities: "list[str] | tuple[str, ...]") -> None:
    from datetime import UTC, datetime

    from control_plane.runtime.development_ca import CaError, DevelopmentCa, Names

    now = datetime.now(UTC)
    names = Names(dns=(*Names().dns, *chosen.dns), ips=(*Names().ips, *chosen.ips))
    try:
        authority = DevelopmentCa.open(chosen.folder, chosen.trust_domain, days=chosen.ca_days, now=now)
        made = [authority.issue(one, days=chosen.days, now=now, names=names) for one in identities]
    except CaError as err:
        fail(str(err))
    except OSError as err:
        fail(f"{err.filename or chosen.folder}: {err.strerror}")
    _tell(authority)
    for one in made:
        typer.echo(f"{one.spiffe_id:<40} {one.folder}   until {one.expires_at:%Y-%m-%d %H:%M} UTC")
    typer.echo("tls.crt, tls.key and ca.crt in each folder are MUSTER_TLS_CERT, MUSTER_TLS_KEY and MUSTER_TLS_CA")


def _tell(authority: "DevelopmentCa") -> None:
    typer.echo(f"authority      {authority.ca_cert}   trust domain {authority.trust_domain}")
    typer.echo("For development only: whoever reads its key can be any process of Muster. See docs/tls.md.")
