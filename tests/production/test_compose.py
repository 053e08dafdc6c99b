"""docker-compose.yml is read as Compose reads it, and what it says is run as plain processes: the image's files, the
services' commands, environments and health checks, on a real PostgreSQL and Valkey. Only ports, hosts and folders are
others."""

import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyOptions, parse_duration

from config.settings import LimitsSection
from pipeline.wake import queue_of
from tests.faults.stack import ROOT, until
from tests.parts import create_database, postgres, valkey
from tests.setup_parts import free_port
from workers.app import SWEEP_QUEUE
from workers.broker import valkey_command
from workers.embedded import WORKER_THREADS
from workers.supervise import free_ports
from workers.tied import die_with_parent

ENVIRONMENT = {  # what stands in .env: the portal lies on a base path, and what it shows contains a space
    "FABU_PUBLIC_URL": "https://zhangdian.example/gk",
    "FABU_INBOUND_URL": "https://zhangdian.example",
    "FABU_SECRET": "a" * 64,
    "FABU_PORTAL_KEY": "b" * 64,
    "POSTGRES_PASSWORD": "c" * 64,
    "PORTAL_SITE_NAME": "张店区广播电视局 政府信息公开",
    "PORTAL_SITE_DOMAIN": "zhangdian.example",
    "PORTAL_ORGANISER": "张店区广播电视局",
    "PORTAL_BASE_PATH": "/gk",
}
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([?-])([^}]*))?\})")
OURS = ("migrate", "worker", "beat", "portal", "inbound")
