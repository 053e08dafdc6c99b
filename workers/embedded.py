"""The embedded stack: broker, workers, beat, portal, inbound and sandbox as processes of one data directory."""

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from config import settings as config
from config.settings import Settings
from config.sockets import short_socket
from pipeline.migrate import set_up
from pipeline.rescue import stage
from workers.broker import valkey_command, valkey_ready
from workers.supervise import Program, Supervisor, free_ports

START_SECONDS = 60.0
WORKER_THREADS = 16
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the office's proxy is not asked for loopback


def prepare(data: Path, template: str = "fabu.toml") -> Settings:
    """Make `data` ready to run: configuration, secrets, ports chosen once, folders, database schema."""
    stage.require_ledger(data)
    config.prepare(data, template, free_ports(config.PARTS))
    for folder in ("run", "valkey", "notices", "bounces"):
        (data / folder).mkdir(exist_ok=True)
    settings = config.load(data)
    set_up(settings)
    return settings


@contextmanager
def running(settings: Settings) -> Iterator[Supervisor]:
    """The stack, started and answering; stopped again at the end. Raises SuperviseError."""
    with Supervisor(settings.data, programs(settings)) as supervisor:
        supervisor.start(START_SECONDS)
        yield supervisor


def programs(settings: Settings) -> list[Program]:
    """What runs, in the order of starting."""
    data, addresses = settings.data, config.local_addresses(settings.data)
    environment = {config.DATA: str(data), "PYTHONUNBUFFERED": "1"}
    socket = short_socket(data, config.BROKER_SOCKET)
    python = (sys.executable, "-P", "-m")
    celery = (*python, "celery", "-q", "-A", "workers.app", "--workdir", str(data))
    alone = ("--without-mingle", "--without-gossip", "--without-heartbeat")  # nobody else is on this broker
    listed = [
        Program("valkey", valkey_command(data / "valkey", socket), ready=lambda: valkey_ready(socket), priority=1),
        _served("portal", "web.portal.app:create", addresses["portal"], "/api/health", _portal(settings)),
        _served("inbound", "web.inbound.app:create", addresses["inbound"], "/health", environment),
        _served("console", "web.console.app:create", addresses["console"], "/health", environment),
        Program(
            "worker",
            (*celery, "worker", "-P", "threads", "-c", str(WORKER_THREADS), "-l", "WARNING", *alone),
            environment,
            priority=20,
        ),
        Program("beat", (*celery, "beat", "-l", "WARNING", "--pidfile="), environment, priority=30),
    ]
    if rehearses(settings):
        place = _served("sandbox", "web.sandbox.app:create", addresses["sandbox"], "/api/requests", _sandbox(settings))
        listed.insert(3, place)
    return listed


def rehearses(settings: Settings) -> bool:
    """Does any channel's configuration name the sandbox?"""
    return any(section.rehearsal for section in settings.channels.values())


def _served(name: str, factory: str, address: str, health: str, environment: dict[str, str]) -> Program:
    port = str(urlsplit(address).port)
    uvicorn = (sys.executable, "-P", "-m", "uvicorn", "--factory", factory, "--host", "127.0.0.1", "--port", port)
    # Longer than a reverse proxy keeps an idle connection (nginx: 60 s): it must not send where we just hung up.
    how = ("--log-level", "warning", "--timeout-graceful-shutdown", "5", "--timeout-keep-alive", "75")
    return Program(name, uvicorn + how, environment, ready=_answers(address + health), port=int(port), priority=10)


def _answers(address: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with DIRECTLY.open(address, timeout=1) as answer:
                return bool(answer.status < 500)
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False

    return ready


def _portal(settings: Settings) -> dict[str, str]:
    office = settings.office
    return {
        "PORTAL_DATA": str(settings.data / "portal"),
        "PORTAL_KEY": config.secrets_of(settings.data)["portal_key"],
        "PORTAL_PUBLIC_URL": settings.public_url,
        "PORTAL_SITE_NAME": office.site_name or office.name,
        "PORTAL_SITE_DOMAIN": urlsplit(settings.public_url).hostname or "",
        "PORTAL_SITE_ID_CODE": office.site_id_code,
        "PORTAL_ORGANISER": office.name,
        "PORTAL_CONTACT": "　".join(filter(None, (office.phone, office.address))),
        "PORTAL_ICP": office.icp,
        "PORTAL_POLICE_RECORD": office.police_record,
        "PORTAL_AGENCY_MARK_URL": office.agency_mark_url,
        "PORTAL_REPORT_ERROR_URL": office.report_error_url,
        "PORTAL_SUBSCRIBE_URL": f"{settings.inbound_url}/subscribe" if settings.subscription else "",
    }


def _sandbox(settings: Settings) -> dict[str, str]:
    return {
        "SANDBOX_DATA": str(settings.data / "sandbox"),
        "SANDBOX_PUBLIC_URL": config.local_addresses(settings.data)["sandbox"],
        "SANDBOX_USERNAME": "fabu",
        "SANDBOX_PASSWORD": config.secrets_of(settings.data)["sandbox_password"],
        "SANDBOX_MAIL": config.local_addresses(settings.data)["sandbox_mail"].rpartition("/")[2],
        "SANDBOX_BOUNCES": str(settings.data / "bounces"),
    }
