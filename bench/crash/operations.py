"""Which operation a client does next: drawn by chance, from what its model has."""

import random
from typing import Final

from bench.crash.check import SHARED, home, prefix
from bench.crash.model import Directory, File, Model, Record

FILES_MAX: Final = 24
DIRECTORIES_MAX: Final = 5
FILE_BYTES_MAX: Final = 1 << 19
XATTRS: Final = ("user.a", "user.b", "user.c")
# Weights. What cannot be done at the moment is drawn again.
WEIGHTS: Final = {
    "create": 8, "exclusive": 3, "write": 22, "stable": 9, "commit": 9, "truncate": 6, "rename": 6, "replace": 5,
    "link": 4, "unlink": 5, "mkdir": 3, "rmdir": 2, "move": 2, "chmod": 2, "chown": 1, "read": 6, "setxattr": 4,
    "removexattr": 2,
}  # fmt: skip
LENGTHS: Final = (1, 100, 512, 700, 4096, 5000, 16384, 65536, 100_000, 250_000)


class Chooser:
    """Draws records of intents; numbers of things and generations are never given twice."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._things = 0
        self._generations = 0

    def next(self, chance: random.Random, version: int) -> Record:
        """An operation that the model says will succeed. `version`: what NFS it is for."""
        if home(self._model.client) not in self._model.names:
            return {"intent": "mkdir", "path": home(self._model.client), "thing": self._number()}
        while True:
            kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            if kind.endswith("xattr") and version != 42:
                continue
            record = getattr(self, f"_{kind}")(chance, version)
            if record is not None:
                return record

    def _number(self) -> int:
        self._things += 1
        return self._things

    def _generation(self) -> int:
        self._generations += 1
        return self._generations

    def _files(self) -> list[int]:
        return [number for number, thing in self._model.things.items() if isinstance(thing, File)]

    def _directories(self, *, below: bool = False) -> list[str]:
        own = home(self._model.client)
        paths = [
            path
            for path, number in self._model.names.items()
            if isinstance(self._model.things[number], Directory)
        ]
        return [path for path in paths if path != own] if below else paths

    def _paths(self) -> list[str]:
        """Of files."""
        names = self._model.names
        return [path for path, number in names.items() if isinstance(self._model.things[number], File)]

    def _new_path(self, chance: random.Random) -> str:
        directory = chance.choice([*self._directories(), SHARED])
        name = f"{prefix(self._model.client)}{self._generation()}" if directory == SHARED else ""
        return f"{directory}/{name or f'f{self._generation()}'}"

    def _make(self, chance: random.Random, version: int, *, exclusive: bool) -> Record | None:
        if len(self._files()) >= FILES_MAX:
            return None
        # NFS 3 leaves open what mode an exclusive create gives: clients set it afterwards.
        mode = None if exclusive and version == 3 else chance.choice((0o600, 0o644, 0o640, 0o755))
        verifier = chance.randbytes(8).hex() if exclusive else ""
        path, number = self._new_path(chance), self._number()
        return {"intent": "create", "path": path, "thing": number, "mode": mode, "exclusive": verifier}

    def _create(self, chance: random.Random, version: int) -> Record | None:
        return self._make(chance, version, exclusive=False)

    def _exclusive(self, chance: random.Random, version: int) -> Record | None:
        return self._make(chance, version, exclusive=True)

    def _data(self, chance: random.Random, *, stable: bool) -> Record | None:
        files = self._files()
        if not files:
            return None
        number = chance.choice(files)
        size = len(self._model.file(number).newest)
        length = chance.choice(LENGTHS)
        offset = chance.choice((0, size, chance.randrange(size + 1), size + chance.randrange(70_000)))
        if chance.random() < 0.5:
            offset -= offset % 4096
        if offset + length > FILE_BYTES_MAX:
            return None
        more = {"offset": offset, "length": length, "generation": self._generation(), "stable": stable}
        return {"intent": "write", "thing": number, **more}

    def _write(self, chance: random.Random, _version: int) -> Record | None:
        return self._data(chance, stable=False)

    def _stable(self, chance: random.Random, _version: int) -> Record | None:
        return self._data(chance, stable=True)

    def _commit(self, chance: random.Random, _version: int) -> Record | None:
        dirty = [number for number in self._files() if self._model.file(number).layers]
        return {"intent": "commit", "thing": chance.choice(dirty)} if dirty else None

    def _truncate(self, chance: random.Random, _version: int) -> Record | None:
        files = self._files()
        if not files:
            return None
        number = chance.choice(files)
        size = len(self._model.file(number).newest)
        new = chance.choice(
            (0, chance.randrange(size + 1), min(FILE_BYTES_MAX, size + chance.randrange(9000)))
        )
        return {"intent": "truncate", "thing": number, "size": new}

    def _rename(self, chance: random.Random, _version: int) -> Record | None:
        paths = self._paths()
        return (
            {"intent": "rename", "old": chance.choice(paths), "new": self._new_path(chance)}
            if paths
            else None
        )

    def _replace(self, chance: random.Random, _version: int) -> Record | None:
        paths = self._paths()
        if len(paths) < 2:
            return None
        old, new = chance.sample(paths, 2)
        # Of two names of one file rename changes nothing.
        same = self._model.names[old] == self._model.names[new]
        return None if same else {"intent": "rename", "old": old, "new": new}

    def _move(self, chance: random.Random, _version: int) -> Record | None:
        """Of a directory with all that is in it."""
        directories = self._directories(below=True)
        if not directories:
            return None
        old = chance.choice(directories)
        above = [path for path in self._directories() if path != old and not path.startswith(old + "/")]
        return {"intent": "rename", "old": old, "new": f"{chance.choice(above)}/d{self._generation()}"}

    def _link(self, chance: random.Random, _version: int) -> Record | None:
        files = [number for number in self._files() if len(self._model.paths(number)) < 4]
        if not files or len(self._paths()) > 2 * FILES_MAX:
            return None
        return {"intent": "link", "thing": chance.choice(files), "path": self._new_path(chance)}

    def _unlink(self, chance: random.Random, _version: int) -> Record | None:
        paths = self._paths()
        # Files are to live through some rounds before they go.
        many = len(self._files()) > FILES_MAX * 2 // 3
        return {"intent": "unlink", "path": chance.choice(paths)} if paths and many else None

    def _mkdir(self, chance: random.Random, _version: int) -> Record | None:
        directories = self._directories()
        if len(directories) > DIRECTORIES_MAX:
            return None
        path = f"{chance.choice(directories)}/d{self._generation()}"
        return {"intent": "mkdir", "path": path, "thing": self._number()}

    def _rmdir(self, chance: random.Random, _version: int) -> Record | None:
        empty = [
            path
            for path in self._directories(below=True)
            if not any(other.startswith(path + "/") for other in self._model.names)
        ]
        return {"intent": "rmdir", "path": chance.choice(empty)} if empty else None

    def _chmod(self, chance: random.Random, _version: int) -> Record | None:
        files = self._files()
        mode = chance.choice((0o600, 0o640, 0o664, 0o444, 0o755))
        return {"intent": "chmod", "thing": chance.choice(files), "mode": mode} if files else None

    def _chown(self, chance: random.Random, _version: int) -> Record | None:
        files = self._files()
        ids = {"uid": chance.randrange(3000), "gid": chance.randrange(3000)}
        return {"intent": "chown", "thing": chance.choice(files), **ids} if files else None

    def _read(self, chance: random.Random, _version: int) -> Record | None:
        paths = self._paths()
        return {"intent": "read", "path": chance.choice(paths)} if paths else None

    def _setxattr(self, chance: random.Random, _version: int) -> Record | None:
        files = self._files()
        if not files:
            return None
        number, name = chance.choice(files), chance.choice(XATTRS)
        more = {"length": chance.choice((1, 50, 3000)), "generation": self._generation()}
        return {"intent": "setxattr", "thing": number, "name": name, **more}

    def _removexattr(self, chance: random.Random, _version: int) -> Record | None:
        having = [number for number in self._files() if self._model.file(number).xattrs]
        if not having:
            return None
        number = chance.choice(having)
        name = chance.choice(sorted(self._model.file(number).xattrs))
        return {"intent": "removexattr", "thing": number, "name": name}
