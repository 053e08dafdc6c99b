"""What the portal is told from outside. Every environment name stands here once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

AMNESIA = "amnesia"  # answers 200 and stores nothing: the fault that reading back exists for


class SettingsError(Exception):
    """The portal cannot start as it was told to; the message names the variable."""


@dataclass(frozen=True)
class Settings:
    database_url: str
    key: str = field(repr=False)
    public_url: str
    base_path: str
    site_name: str
    site_domain: str
    site_id_code: str
    organiser: str  # 主办单位
    contact: str
    icp: str  # ICP备案号
    police_record: str  # 公安备案号
    agency_mark_url: str  # 党政机关网站标识
    report_error_url: str  # 我为政府网站找错
    subscribe_url: str  # where citizens subscribe to mails and SMS; empty: nowhere
    fault: str

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises SettingsError."""
        url = environment.get("PORTAL_DATABASE_URL", "")
        if not url:
            data = Path(environment.get("PORTAL_DATA", "var/portal")).resolve()
            data.mkdir(parents=True, exist_ok=True)
            url = f"sqlite:///{data / 'portal.db'}"
        settings = cls(
            database_url=url,
            key=_secret(environment, "PORTAL_KEY"),
            public_url=environment.get("PORTAL_PUBLIC_URL", "http://127.0.0.1:8080").rstrip("/"),
            base_path=environment.get("PORTAL_BASE_PATH", "").rstrip("/"),
            site_name=environment.get("PORTAL_SITE_NAME", "政府信息公开"),
            site_domain=environment.get("PORTAL_SITE_DOMAIN", "localhost"),
            site_id_code=environment.get("PORTAL_SITE_ID_CODE", ""),
            organiser=environment.get("PORTAL_ORGANISER", ""),
            contact=environment.get("PORTAL_CONTACT", ""),
            icp=environment.get("PORTAL_ICP", ""),
            police_record=environment.get("PORTAL_POLICE_RECORD", ""),
            agency_mark_url=environment.get("PORTAL_AGENCY_MARK_URL", ""),
            report_error_url=environment.get("PORTAL_REPORT_ERROR_URL", ""),
            subscribe_url=environment.get("PORTAL_SUBSCRIBE_URL", ""),
            fault=environment.get("PORTAL_FAULT", ""),
        )
        if len(settings.key) < 16:
            raise SettingsError("PORTAL_KEY: at least 16 characters are needed")
        code = settings.site_id_code
        if code and not (len(code) == 10 and code.isascii() and code.isdigit()):
            raise SettingsError("PORTAL_SITE_ID_CODE: 10 digits")
        if settings.base_path and not settings.base_path.startswith("/"):
            raise SettingsError("PORTAL_BASE_PATH: begins with /")
        if settings.fault and (settings.fault != AMNESIA or environment.get("PORTAL_ALLOW_FAULTS") != "1"):
            raise SettingsError("PORTAL_FAULT: only 'amnesia', and only beside PORTAL_ALLOW_FAULTS=1")
        return settings


def _secret(environment: Mapping[str, str], name: str) -> str:
    """What the environment says, or the file that its `…_FILE` names, as container secrets do. Raises SettingsError."""
    file = environment.get(f"{name}_FILE", "")
    if environment.get(name) or not file:
        return environment.get(name, "")
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE: cannot read {file}") from error
