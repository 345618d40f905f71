"""What happens at each boot before files are served. Every step finds its work done when it runs again."""

import shlex
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from appliance.firstboot import configure, domain, instance, smb, smb_files
from appliance.firstboot.data_disks import DataDisks, Settled
from appliance.firstboot.host import Host, HostError, Paths
from appliance.firstboot.instance import Told
from appliance.firstboot.instance_service import InstanceError, Service, wait_for_identity
from appliance.firstboot.layout import LayoutError
from appliance.firstboot.report import Problem, Report
from gateway import admin_process, smb_shares
from gateway.config import Config
from gateway.errors import CaudalError, StartError
from gateway.state import StateDir, write_atomically

log = structlog.get_logger(__name__)

SERVER_UNIT: Final = "caudal.service"
ADMIN_UNIT: Final = "caudal-admin.service"
RESOLVER_UNIT: Final = "systemd-resolved.service"
MIRRORS_UNIT: Final = "caudal-mirrors.service"

CheckStore = Callable[[Config], None]
"""Raises CaudalError where the store does not answer or is not ours; it may wait for an identity to come."""


class Boot:
    """One run of first boot. find_service: the instance metadata service, where there is one. env: what it says of the
    store's account goes in there, as far as nothing else says it.
    """

    def __init__(
        self,
        paths: Paths,
        host: Host,
        check_store: CheckStore,
        find_service: Callable[[], Service | None] = lambda: None,
        env: MutableMapping[str, str] | None = None,
    ) -> None:
        self._paths = paths
        self._host = host
        self._check_store = check_store
        self._find_service = find_service
        self._service: Service | None = None
        self._env: MutableMapping[str, str] = {} if env is None else env
        self._report = Report()
        self._part = "configuration"
        self._smb: smb.Smb | None = None
        self._member: domain.Member | None = None

    def run(self) -> Report:
        """Everything up to the start of the server, or to what is missing for it."""
        try:
            self._prepare()
        except (LayoutError, InstanceError, CaudalError) as error:
            message = error.message if isinstance(error, CaudalError) else str(error)
            self._problem(message, error.hint)
        except (HostError, OSError, ValueError) as error:
            self._problem(str(error), "the log says more: journalctl -u caudal-firstboot")
        if self._report.ready:
            self._report.write(self._paths.setup)
            self._host.start(SERVER_UNIT)
            if self._paths.fresh_mirrors.exists():
                self._host.start(MIRRORS_UNIT)
            if self._member is not None:
                self._host.start(domain.WINBIND_UNIT)
            if self._smb is not None:
                self._host.start(smb.SMB_UNIT)
        else:
            # The page that says what is missing takes the admin service's place.
            if self._paths.admin_settings.exists():
                self._paths.admin_settings.unlink()
                self._host.restart_if_running(ADMIN_UNIT)
            self._report.write(self._paths.setup)
        return self._report

    def _prepare(self) -> None:
        self._paths.run.mkdir(mode=0o755, parents=True, exist_ok=True)
        given = configure.read(self._paths.config, self._ask_instance().keys)
        if "clients" not in given.explicit:
            self._report.notes.append("clients is not given: nobody but this machine itself can mount")
        self._smb = smb.read(self._paths.smb_config)
        if self._smb is not None:
            given = replace(given, clients=smb.clients(given), explicit=given.explicit | {"clients"})
        self._part = "disks"
        settled, values = self._disks(given)
        self._part = "configuration"
        effective = self._write_effective(given, values)
        self._part = "store"
        if self._service is not None and effective.store.startswith("az:"):
            wait_for_identity(self._service, self._env)
        if settled is not None and settled.lost is not None:
            self._bring_state_back(effective, settled)
        else:
            self._check_store(effective)
        self._part = "system"
        self._let_admin_in(given, effective)
        if self._smb is not None:
            self._prepare_smb(effective, self._smb)
        else:
            smb_shares.samba_file(StateDir(effective.state)).unlink(missing_ok=True)

    def _ask_instance(self) -> Told:
        """What Azure says of the machine. Where there is a file, it serves without, too."""
        self._service = self._find_service()
        if self._service is None:
            return Told()
        try:
            told = instance.ask(self._service)
        except InstanceError as error:
            if not self._paths.config.exists():
                raise
            self._report.notes.append(f"{error}; {self._paths.config} alone counts")
            return Told()
        self._report.notes += told.notes
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in told.environment.items()]
        write_atomically(self._paths.environment, "".join(lines).encode())
        for name, value in told.environment.items():
            self._env.setdefault(name, value)
        return told

    def _problem(self, text: str, hint: str) -> None:
        log.error("firstboot.problem", part=self._part, text=text, hint=hint)
        self._report.problems.append(Problem(self._part, text, hint))

    def _disks(self, given: Config) -> tuple[Settled | None, dict[str, object]]:
        """The disks, and what the configuration gets from them. Where the operator's file names the journal or the state
        directory, the disks are the operator's as well.
        """
        if {"journal", "state"} & given.explicit:
            return None, {"nlm_port": configure.NLM_PORT, "state": given.state}
        settled = DataDisks(self._paths, self._host).settle(wants_store="store" not in given.explicit)
        self._report.notes += settled.layout.notes
        if settled.fresh:
            lines = "".join(f"{journal}\n" for journal in settled.fresh)
            write_atomically(self._paths.fresh_mirrors, lines.encode())
        else:
            self._paths.fresh_mirrors.unlink(missing_ok=True)
        sizes = {label: self._host.size_bytes(point) for label, point in settled.mounts.items()}
        values = configure.derived(given, settled.layout, settled.mounts, sizes, self._host.memory_bytes())
        return settled, {**values, "state": self._paths.state}

    def _write_effective(self, given: Config, values: Mapping[str, object]) -> Config:
        write_atomically(self._paths.effective, configure.text(given, values).encode())
        return configure.read(self._paths.effective)

    def _bring_state_back(self, effective: Config, settled: Settled) -> None:
        """The disk with the state directory is lost: store and journal have everything that was in it."""
        assert settled.lost is not None
        if effective.store.startswith("file://") and "store" not in effective.explicit:
            raise StartError(
                "the disk that held the files' data is missing",
                "attach it: nothing else has it, unless a copy was made",
            )
        journal = settled.journal(settled.lost)
        log.warning("firstboot.recover", journal=str(journal))
        self._host.recover(self._paths.effective, effective.store, effective.state, [journal])
        settled.write_record()
        self._report.notes.append(
            f"the state directory was lost and came back from the store and the journal on {settled.lost};"
            " users and tokens of the admin service have to be made anew"
        )

    def _prepare_smb(self, effective: Config, wanted: smb.Smb) -> None:
        point = self._paths.smb_mount
        point.mkdir(mode=0o755, parents=True, exist_ok=True)
        if domain.configure_resolver(wanted.domain, self._paths.domain_dns):
            self._host.restart_if_running(RESOLVER_UNIT)
        self._member, notes = smb_files.write(self._paths, effective.state, wanted)
        self._report.notes += notes
        write_atomically(smb_shares.samba_file(StateDir(effective.state)), smb.for_the_server(wanted, point))
        self._host.define_loopback(effective.export, effective.nfs_port, point)

    def _let_admin_in(self, given: Config, effective: Config) -> None:
        """The admin service's user gets its own directory and the control socket, and nothing else of the state."""
        state = effective.state
        for name, mode in ((".", 0o711), ("run", 0o750), ("run/log", 0o700), ("admin", 0o700)):
            (state / name).mkdir(mode=0o700, exist_ok=True)
            self._host.give(state / name, mode, owner=name == "admin", group=name == "run")
        for file in (state / "admin").iterdir():
            self._host.give(file, 0o600, owner=True)
        # Commands look for the socket in the state directory; the service has it in a directory of its own.
        link, socket = state / "run/admin.sock", self._paths.admin_run / "admin.sock"
        if not link.is_symlink() or link.readlink() != socket:
            link.unlink(missing_ok=True)
            link.symlink_to(socket)
        as_given = replace(
            effective,
            admin_port=given.admin_port,
            admin_certificate=given.admin_certificate,
            admin_certificate_key=given.admin_certificate_key,
        )
        settings = admin_process.settings(as_given)
        settings |= {"admin_socket": str(socket), "log": str(self._paths.admin_log)}
        data = msgspec.json.encode(settings)
        file = self._paths.admin_settings
        if not file.exists() or file.read_bytes() != data:
            write_atomically(file, data, 0o644)
            self._host.restart_if_running(ADMIN_UNIT)
