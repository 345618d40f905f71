"""`caudal-smb-join`: makes the machine a member of the domain that `[domain]` of /etc/caudal/smb.toml names.

    caudal-smb-join ACCOUNT            asks for the account's password, or reads it from the first line of standard input
    caudal-smb-join --blob FILE        without a password: djoin /provision or net offlinejoin provision made FILE
    caudal-smb-join --show             whether the membership is sound; exits 1 where it is not
    caudal-smb-join --leave ACCOUNT    deletes the machine's account and the membership
    caudal-smb-join --forget           deletes the membership here alone, where no controller answers

Before it joins, it looks at what joins fail by: DNS, the way to a domain controller, the clock.
"""

import argparse
import getpass
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.firstboot import domain, smb, smb_files
from appliance.firstboot.domain import Member
from appliance.firstboot.host import Paths
from gateway.errors import CaudalError, ConfigError

MAX_SKEW_S: Final = 300
"""Kerberos' bound."""
PORTS: Final = (88, 389, 445)
"""Kerberos, LDAP, SMB: without each of them there is no join."""
_CONNECT_TIMEOUT_S: Final = 3.0
_NET_TIMEOUT_S: Final = 120


class JoinError(CaudalError):
    """What stands against a membership; the hint says what to do."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command of Samba's ended, and what it said."""

    status: int
    text: str


Net = Callable[[Sequence[str], str], Said]
"""Runs `net` with these words and, where it is not empty, a password."""
Reach = Callable[[str, int], bool]
"""Whether a TCP connection to an address and port comes about."""


def reach(address: str, port: int) -> bool:
    """See Reach."""
    try:
        with socket.create_connection((address, port), _CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False


def own_address(peer: str) -> str:
    """The address of this machine from which it reaches another; nothing is sent."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.connect((peer, 389))
        return str(asked.getsockname()[0])


def net_of(conf: Path, krb5_conf: Path) -> Net:
    """Samba's program with a configuration of ours."""

    def net(words: Sequence[str], password: str) -> Said:
        env = {**os.environ, "KRB5_CONFIG": str(krb5_conf), "LC_ALL": "C"}
        # Not an argument, which everybody could see.
        env |= {"PASSWD": password} if password else {}
        try:
            done = subprocess.run(
                ["net", "--configfile", str(conf), *words],
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_NET_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Said(1, f"no end within {_NET_TIMEOUT_S} s")
        except OSError as error:
            raise JoinError(f"net cannot be run: {error}", "install samba and winbind") from error
        return Said(done.returncode, done.stdout + done.stderr)

    return net


def controllers(said: str) -> list[str]:
    """The addresses that `net lookup ldap` printed, as `10.0.0.4:389` or `[fd00::4]:389`, one a line."""
    found = (re.fullmatch(r"\[?([0-9A-Fa-f.:]+?)\]?:\d+", line.strip()) for line in said.splitlines())
    return list(dict.fromkeys(match[1] for match in found if match))


def skew_s(said: str) -> int | None:
    """By how many seconds the controller is ahead, of what `net ads info` printed; None where it does not tell."""
    times = re.search(r"^Server time: .*\b1970\b", said, re.MULTILINE)
    offset = re.search(r"^Server time offset: (-?\d+)$", said, re.MULTILINE)
    return int(offset[1]) if offset and not times else None


# What `net` says, and what to do about it. The first that fits counts.
_CAUSES: Final = (
    (
        r"LOGON_FAILURE|PREAUTH_FAILED|attempted logon is invalid|Preauthentication failed|not found in Kerberos database",
        "the domain does not know the account, or the password is wrong",
    ),
    (r"ACCESS_DENIED|[Ii]nsufficient access", "the account may not do that: take one that may join machines"),
    (r"[Cc]lock skew|KRB_AP_ERR_SKEW", "the clocks differ by more than 5 minutes: chronyc tracking"),
    (
        r"should be '([^']+)'|should be \"([^\"]+)\"",
        "realm or workgroup is another one: see what the domain says it is",
    ),
    (
        r"No such object|NO_SUCH_OBJECT|precreate|createcomputer",
        "is there such an ou? It is written from the top down",
    ),
    (r"quota|machine account quota", "the account has made as many machines as it may: take another one"),
    (r"locked out|ACCOUNT_LOCKED", "the account is locked: have it unlocked, or wait"),
    (r"xpired|PASSWORD_MUST_CHANGE", "the account's password has expired"),
    (
        r"No logon servers|DC for domain .* not found|domain controller .* not found",
        "no domain controller answered",
    ),
)


def explained(said: str) -> str:
    """What to do after `net` said that."""
    for pattern, advice in _CAUSES:
        if re.search(pattern, said):
            return advice
    return "the log of the domain controller says more"


def _words(said: str) -> str:
    # Which of the names could not be registered is no reason.
    lines = [line for line in said.splitlines() if line.strip() and "DNS update" not in line]
    return " ".join(lines)[-400:] or "nothing"


def _host_name(made: Member) -> str:
    return f"{made.name}.{made.realm}".lower()


class Membership:
    """Of one machine in one domain."""

    def __init__(
        self,
        paths: Paths,
        share: smb.Smb,
        net: Net,
        reach: Reach = reach,
        own_address: Callable[[str], str] = own_address,
    ) -> None:
        if share.domain is None:
            raise ConfigError(
                f"{paths.smb_config} names no domain", 'add: [domain] and below it realm = "CORP.EXAMPLE"'
            )
        self._paths, self._share, self._domain = paths, share, share.domain
        self._net, self._reach, self._own_address = net, reach, own_address

    @property
    def state(self) -> Path:
        return self._paths.state

    def check_surroundings(self) -> str:
        """Looks at DNS, the way to a controller, and the clock; returns the controller's address. Raises JoinError."""
        realm = self._domain.realm
        found = controllers(self._net(["lookup", "ldap", realm.lower()], "").text)
        if not found:
            raise JoinError(
                f"DNS knows no domain controller of {realm}",
                "look at realm, and give the addresses of the domain's DNS servers:"
                f' dns = ["10.0.0.4"] in [domain] of {self._paths.smb_config}, then systemctl restart caudal-firstboot',
            )
        closed = {each: [port for port in PORTS if not self._reach(each, port)] for each in found}
        if all(closed.values()):
            first = found[0]
            raise JoinError(
                f"no domain controller of {realm} answers: {', '.join(found)}"
                f" (of {first} the TCP ports {', '.join(map(str, closed[first]))} are shut)",
                "open the way to it (53, 88, 135, 389, 445, 464, 49152-65535), or start one",
            )
        address = next(each for each in found if not closed[each])
        self._check_clock(address)
        self._check_short_name(address)
        return address

    def _check_clock(self, address: str) -> None:
        said = self._net(["ads", "info", "-S", address], "").text
        ahead_s = skew_s(said)
        if ahead_s is None:
            raise JoinError(
                f"{address} does not say what time it is: {_words(said)}", "is it a domain controller?"
            )
        if abs(ahead_s) > MAX_SKEW_S:
            raise JoinError(
                f"this machine's clock is {abs(ahead_s)} s {'behind' if ahead_s > 0 else 'ahead of'} the domain's;"
                f" Kerberos allows {MAX_SKEW_S} s",
                "chronyc sources shows where its time comes from; to take the domain's:"
                f" `server {self._domain.realm.lower()} iburst` into /etc/chrony/conf.d/domain.conf,"
                " systemctl restart chrony",
            )

    def _check_short_name(self, address: str) -> None:
        said = self._net(["ads", "workgroup", "-S", address], "").text
        found = re.search(r"^Workgroup: (\S+)$", said, re.MULTILINE)
        if found and found[1].upper() != self._domain.workgroup:
            raise JoinError(
                f"the short name of {self._domain.realm} is {found[1]}, not {self._domain.workgroup}",
                f'workgroup = "{found[1]}" in [domain] of {self._paths.smb_config},'
                " then systemctl restart caudal-firstboot",
            )

    def join(self, account: str, password: str) -> Member:
        """Raises JoinError where the domain refuses; then nothing is a membership that was not one before."""
        made = domain.wanted(self._domain)
        self._configure_net(made)
        self.check_surroundings()
        # Without Kerberos there would be a join by NTLM, which domains refuse, and no user by Kerberos afterwards.
        words = ["ads", "join", "--no-dns-updates", "--use-kerberos=required", "-U", account]
        if self._domain.ou:
            words.append(f"createcomputer={self._domain.ou}")
        return self._join(made, words, password)

    def join_by_blob(self, blob: Path) -> Member:
        """The machine's name is the one that the blob was made for; it has to be [domain]'s or the host's."""
        if not blob.is_file():
            raise JoinError(f"{blob} is no file", "as djoin /provision or net offlinejoin provision made it")
        made = domain.wanted(self._domain)
        self._configure_net(made)
        self.check_surroundings()
        return self._join(made, ["offlinejoin", "requestodj", f"loadfile={blob}"], "")

    def _join(self, made: Member, words: list[str], password: str) -> Member:
        done = self._net(words, password)
        if done.status:
            raise JoinError(f"the join failed: {_words(done.text)}", explained(done.text))
        tested = self._net(["ads", "testjoin"], "")
        if tested.status:
            raise JoinError(f"the membership does not hold: {_words(tested.text)}", explained(tested.text))
        domain.keep(self.state, made)
        self._serve()
        return made

    def register(self, made: Member) -> str:
        """Has the domain's DNS know the machine; returns what is left to be done by hand."""
        name = _host_name(made)
        try:
            own = self._own_address(self.check_surroundings())
        except (JoinError, OSError):
            return f"DNS was not told its name, {name}: enter it with the machine's address"
        if self._net(["ads", "dns", "register", "-P", name, own], "").status == 0:
            return f"DNS knows it as {name}"
        return (
            f"DNS did not take its name: enter {name} with the address {own}, or Kerberos finds no way to it"
        )

    def show(self) -> str:
        """What there is to say of a sound membership. Raises JoinError or ConfigError for one that is not."""
        made = self._made()
        self._configure_net(made)
        address = self.check_surroundings()
        tested = self._net(["ads", "testjoin"], "")
        if tested.status:
            raise JoinError(
                f"{made.realm} does not know this machine as {made.name} any more: {_words(tested.text)}",
                "join again: caudal-smb-join ACCOUNT",
            )
        first, last = self._domain.first_id, self._domain.last_id
        return (
            f"member of {made.realm} as {made.name}; {address} answers, the clock fits; ids {first} to {last}"
        )

    def leave(self, account: str, password: str) -> None:
        """Raises JoinError where the domain refuses: then the machine is a member as before."""
        made = self._made()
        self._configure_net(made)
        self.check_surroundings()
        done = self._net(["ads", "leave", "--use-kerberos=required", "-U", account], password)
        if done.status:
            raise JoinError(f"leaving failed: {_words(done.text)}", explained(done.text))
        # The name would stay the deleted account's, and no other machine could enter itself by it.
        words = ["ads", "dns", "unregister", "--use-kerberos=required", "-U", account, _host_name(made)]
        self._net(words, password)
        self.forget()

    def forget(self) -> None:
        """Local users are served from then on. Without the record nothing counts as a membership; secrets.tdb stays, since
        the machine's own SID is in it, by which local users are known.
        """
        domain.record(self.state).unlink(missing_ok=True)
        self._serve()

    def _made(self) -> Member:
        made = domain.member(self.state)
        if made is None or not made.of(self._domain):
            raise JoinError(f"the machine is no member of {self._domain.realm}", "caudal-smb-join ACCOUNT")
        return made

    def _configure_net(self, made: Member) -> None:
        smb_files.write_for_net(self._paths, self.state, self._share, made)

    def _serve(self) -> None:
        smb_files.write(self._paths, self.state, self._share)


def restart_services(*, as_member: bool) -> None:
    """Where there is a service manager."""
    if Path("/run/systemd/system").is_dir():
        words = ("restart" if as_member else "stop", domain.WINBIND_UNIT)
        for each in (words, ("restart", smb.SMB_UNIT)):
            subprocess.run(["systemctl", *each], check=False)
        # It looks again, and what it said of the membership is not on the admin page any more.
        subprocess.run(["systemctl", "try-restart", "--no-block", "caudal-firstboot.service"], check=False)


def _password(account: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"Password of {account}: ")
    return sys.stdin.readline().rstrip("\n")


def _arguments() -> argparse.Namespace:
    text = "Makes this machine a member of the domain that /etc/caudal/smb.toml names."
    parser = argparse.ArgumentParser(prog="caudal-smb-join", description=text)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--blob", type=Path, metavar="FILE", help="join by a file made beforehand, no password")
    what.add_argument("--show", action="store_true", help="whether the membership is sound")
    what.add_argument("--leave", action="store_true", help="delete the machine's account and the membership")
    what.add_argument("--forget", action="store_true", help="delete the membership here alone")
    parser.add_argument("account", nargs="?", default="", help="an account that may join machines")
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    needs_account = not (arguments.blob or arguments.show or arguments.forget)
    if needs_account != bool(arguments.account):
        parser.error("ACCOUNT is for joining and --leave" if arguments.account else "which ACCOUNT joins?")
    if "%" in arguments.account:
        parser.error("ACCOUNT comes without its password, which everybody could see: it is asked for")
    return arguments


def main() -> None:
    """The command."""
    arguments = _arguments()
    paths = Paths(arguments.root)
    try:
        share = smb.read(paths.smb_config)
        if share is None or not paths.smb_effective.exists():
            raise ConfigError(
                "SMB is off", f"write {paths.smb_config} first, then systemctl restart caudal-firstboot"
            )
        membership = Membership(paths, share, net_of(paths.smb_join_conf, paths.smb_krb5_conf))
        sys.stdout.write(f"{_done(membership, arguments)}\n")
    except CaudalError as error:
        sys.exit(f"caudal-smb-join: {error.message}; {error.hint}")
    except OSError as error:
        sys.exit(f"caudal-smb-join: {error}")


def _done(membership: Membership, arguments: argparse.Namespace) -> str:
    if arguments.show:
        return membership.show()
    if arguments.leave or arguments.forget:
        if arguments.leave:
            membership.leave(arguments.account, _password(arguments.account))
        else:
            membership.forget()
        restart_services(as_member=False)
        return "no member of a domain any more; local users are served"
    if arguments.blob:
        made = membership.join_by_blob(arguments.blob)
    else:
        made = membership.join(arguments.account, _password(arguments.account))
    restart_services(as_member=True)
    return f"member of {made.realm} as {made.name}; {membership.register(made)}"


if __name__ == "__main__":
    main()
