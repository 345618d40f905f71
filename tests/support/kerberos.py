"""A Kerberos realm of the test's own: MIT's KDC on a free port, its database in a folder of the test."""

import os
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.support.processes import Daemon, answers, free_port

REALM: Final = "CAUDAL.TEST"
PASSWORD: Final = "a word for the tests"
KDC_CONF: Final = """\
[kdcdefaults]
 kdc_ports = {port}
 kdc_tcp_ports = {port}
[realms]
 {realm} = {{
  database_name = {folder}/principals
  key_stash_file = {folder}/stash
  acl_file = {folder}/acl
  supported_enctypes = {enctypes}
  max_life = 1h
 }}
[logging]
 kdc = FILE:{folder}/kdc.log
"""
KRB5_CONF: Final = """\
[libdefaults]
 default_realm = {realm}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
[realms]
 {realm} = {{
  kdc = {address}:{port}
 }}
[domain_realm]
 .test = {realm}
"""


class Realm:
    """One realm and its KDC, which clients reach at `address`."""

    def __init__(self, folder: Path, address: str, name: str = REALM) -> None:
        self.name, self.folder = name, folder
        self.port = free_port()
        folder.mkdir(parents=True, mode=0o755)
        fields = {"realm": name, "port": self.port, "folder": folder, "address": address}
        # As Windows domains and MIT's defaults have them; the client's kernel of today knows no others.
        fields["enctypes"] = "aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal"
        (folder / "kdc.conf").write_text(KDC_CONF.format(**fields))
        self.krb5_conf = folder / "krb5.conf"
        self.krb5_conf.write_text(KRB5_CONF.format(**fields))
        self._kdc: Daemon | None = None

    @property
    def env(self) -> dict[str, str]:
        """What makes programs use this realm."""
        return {"KRB5_CONFIG": str(self.krb5_conf)}

    def _tool(self, *command: str) -> str:
        env = {**os.environ, **self.env, "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> Self:
        self._tool("kdb5_util", "-r", self.name, "create", "-s", "-P", PASSWORD)
        env = {**self.env, "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}
        command = ["krb5kdc", "-n", "-r", self.name, "-P", str(self.folder / "kdc.pid")]
        self._kdc = Daemon(command, self.folder / "kdc.out", env=env)
        self._kdc.wait_ready(lambda: answers(self.port), "the KDC answers")
        return self

    def admin(self, query: str) -> str:
        """A command of kadmin.local."""
        return self._tool("kadmin.local", "-r", self.name, "-q", query)

    def keytab(self, file: str, *principals: str) -> Path:
        """A keytab with new keys of service principals, which are made where they are not there."""
        path = self.folder / file
        path.unlink(missing_ok=True)
        for principal in principals:
            self.admin(f"addprinc -randkey {principal}")
            self.admin(f"ktadd -k {path} {principal}")
        assert path.exists()
        return path

    def user(self, name: str) -> None:
        """A principal that signs in with PASSWORD."""
        self.admin(f'addprinc -pw "{PASSWORD}" {name}')

    def stop(self) -> None:
        if self._kdc is not None:
            self._kdc.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
