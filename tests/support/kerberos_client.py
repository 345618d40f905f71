"""A kernel client that signs in with Kerberos: rpc.gssd beside it, tickets in memory of its own."""

from typing import Final

from tests.support import uml
from tests.support.kerberos import PASSWORD, Realm

SERVER: Final = "server.test"
CLIENT: Final = "client.test"
# The user of the tests is one that every Debian has.
USER, UID, GID = "games", 5, 60
TICKETS: Final = "/run/krb5"
# The kernel would load them by a path that is not there: its root is the machine's.
MODULES: Final = ("cts", "cbc", "hmac", "sha512_generic", "cmac", "auth_rpcgss", "rpcsec_gss_krb5")


def join(client: uml.Client, realm: Realm) -> None:
    """Makes the client a member of the realm: its name, the server's, a machine credential, gssd."""
    keytab = realm.keytab("client.keytab", f"nfs/{CLIENT}")
    hosts = client.work / "hosts"
    hosts.write_text(
        f"127.0.0.1 localhost\n{client.server_address} {SERVER}\n{client.address} {CLIENT} client\n"
    )
    idmapd = client.work / "idmapd.conf"
    idmapd.write_text(f"[General]\nDomain = {realm.name.lower()}\n")
    loads = "; ".join(f"modprobe -q -d {client.work} {module}" for module in MODULES)
    client.run(
        f"set -e\nmount --bind {hosts} /etc/hosts\nmount --bind {idmapd} /etc/idmapd.conf\nhostname {CLIENT}\n{loads}\n"
        f"mkdir -p /run/rpc_pipefs {TICKETS}\nchmod 1777 {TICKETS}\n"
        "mount -t rpc_pipefs none /run/rpc_pipefs\n"
        f"KRB5_CONFIG={realm.krb5_conf} setsid rpc.gssd -f -vv -k {keytab} -d {TICKETS}"
        f" > {client.work}/gssd.log 2>&1 < /dev/null &\n"
    )


def as_user(realm: Realm, text: str) -> str:
    """A shell script as the user of the tests; what it quotes, it quotes with double quotes."""
    variables = f"KRB5_CONFIG={realm.krb5_conf} KRB5CCNAME=FILE:{TICKETS}/krb5cc_{UID}"
    return f"{variables} setpriv --reuid {UID} --regid {GID} --clear-groups sh -ec '{text}'"


def sign_in(client: uml.Client, realm: Realm, principal: str = USER) -> None:
    """Gives the user of the tests a ticket of a principal."""
    client.run(as_user(realm, f'echo "{PASSWORD}" | kinit {principal} > /dev/null'))


def sign_out(client: uml.Client, realm: Realm) -> None:
    client.run(as_user(realm, "kdestroy"))


def gssd_log(client: uml.Client) -> str:
    """The last that gssd said."""
    return (client.work / "gssd.log").read_text(errors="replace")[-3000:]
