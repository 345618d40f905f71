"""The style of the tree itself: sizes, direction of imports, nothing of one machine in it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
MAX_FUNCTION_LINES = 70
CODE = {".py", ".pyx", ".pxd", ".rs", ".c", ".h", ".sh", ".ts", ".tsx", ".css"}
LONGER: dict[str, str] = {
    "gateway/core/src/py/core.rs": "PyO3 wants the methods of a class in one block",
    "gateway/core/src/vtable.rs": "one C function for each of the interface's, whose twin is one header",
}
# Long for what they list: a text, and one parameter for each option.
TEMPLATES = {"gateway/ganesha_conf.py render", "gateway/cli.py up"}

# What a part may import of the others. The first part that a module's name starts with holds.
LAYERS: dict[str, tuple[str, ...]] = {
    "gateway.pyganesha": ("gateway.pyganesha",),
    "gateway.metadata": (
        "gateway.metadata",
        "gateway._core",
        "gateway.errors",
        "gateway.log",
        "gateway.sqlite",
    ),
    "gateway.objects": ("gateway.objects", "gateway._core", "gateway.errors", "gateway.log", "gateway.state"),
    "gateway.data": (
        "gateway.data",
        "gateway.metadata",
        "gateway.objects",
        "gateway._core",
        "gateway.errors",
        "gateway.log",
    ),
    "gateway.cache": (
        "gateway.cache",
        "gateway.metadata",
        "gateway._core",
        "gateway.errors",
        "gateway.log",
        "gateway.state",
    ),
    "gateway.config": (
        "gateway.config",
        "gateway.config_cache",
        "gateway.config_memory",
        "gateway.config_values",
        "gateway.errors",
        "gateway.log",
    ),
    "gateway.control": ("gateway.control", "gateway.errors", "gateway.log"),
    "gateway.errors": ("gateway.errors",),
    "gateway.log": ("gateway.log", "gateway.errors"),
    "gateway.fsal": tuple(
        f"gateway.{name}"
        for name in (
            "fsal",
            "cache",
            "metadata",
            "data",
            "objects",
            "pyganesha",
            "_core",
            "client_records_file",
            "config",
            "control",
            "errors",
            "exports",
            "kerberos",
            "limits",
            "log",
            "mirrors_file",
            "smb_shares",
            "state",
            "tiering",
        )
    ),
    "appliance": ("appliance", "gateway", "admin_api.tls"),
    "admin_api": (
        "admin_api",
        "gateway.control",
        "gateway.errors",
        "gateway.log",
        "gateway.sqlite",
        "gateway.syslog",
    ),
    "gateway.sqlite": ("gateway.sqlite",),
}
# Foreign packages that only some parts may know.
KNOWERS: dict[str, tuple[str, ...]] = {
    "azure": ("gateway.objects",),
    "sqlalchemy": (
        "gateway.metadata",
        "gateway.sqlite",
        "gateway.steward",
        "gateway.checkpointer",
        "gateway.data",
        "admin_api",
    ),
    "pysqlite3": ("gateway.sqlite",),
    "sqlite3": (),
    "alembic": ("gateway.metadata", "admin_api"),
    "fastapi": ("admin_api",),
    "typer": (
        "gateway.cli",
        "gateway.cli_journal",
        "gateway.cli_admin",
        "gateway.cli_alerts",
        "gateway.cli_cache",
        "gateway.cli_exports",
        "gateway.cli_kerberos",
        "gateway.cli_keys",
        "gateway.cli_limits",
        "gateway.cli_meter",
        "gateway.cli_parts",
        "gateway.cli_quota",
        "gateway.cli_objects",
        "gateway.cli_oidc",
        "gateway.cli_recover",
        "gateway.cli_service",
        "gateway.cli_shares",
        "gateway.cli_support",
    ),
}

MACHINE_PATHS = re.compile(r"(?<![\w.~$}-])/(?:work|root|farm|home)/[a-z]")
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|unimplemented!|todo!\(|NotImplementedError")


def tracked(*suffixes: str) -> list[Path]:
    """The files of the repository: those that git knows, in a clone; no build products."""
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z"],
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_about_one_thing() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in tracked(*CODE)}
    long = {name: lines for name, lines in lengths.items() if lines > MAX_LINES and name not in LONGER}
    assert not long, f"split these, or say in LONGER why not: {long}"
    assert not [name for name in LONGER if lengths.get(name, MAX_LINES + 1) <= MAX_LINES], (
        "LONGER names a short file"
    )


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_functions_are_short() -> None:
    long = [
        f"{name_of(path)}:{function.lineno} {function.name} ({function.end_lineno - function.lineno + 1} lines)"
        for path in tracked(".py")
        for function in functions(ast.parse(path.read_text()))
        if f"{name_of(path)} {function.name}" not in TEMPLATES
        if function.end_lineno and function.end_lineno - function.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not long, long


def imported(path: Path) -> Iterator[str]:
    """Full names of what a module imports, `from x import y` as x.y, since y may be a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, parts: tuple[str, ...]) -> bool:
    return any(module == part or module.startswith(f"{part}.") for part in parts)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def product() -> list[Path]:
    return [
        path for path in tracked(".py") if name_of(path).startswith(("gateway/", "admin_api/", "appliance/"))
    ]


def test_imports_point_one_way() -> None:
    wrong: list[str] = []
    for path in product():
        module = module_of(path)
        layer = next((layer for layer in LAYERS if within(module, (layer,))), None)
        if layer is None or "/examples/" in name_of(path):
            continue
        for name in imported(path):
            if (
                name != "gateway.__version__"
                and name.startswith(("gateway.", "admin_api"))
                and not within(name, LAYERS[layer])
            ):
                wrong.append(f"{module} imports {name}")
    assert not wrong, wrong


def test_foreign_packages_stay_where_they_belong() -> None:
    wrong = [
        f"{module_of(path)} imports {name}"
        for path in product()
        for name in imported(path)
        for package, knowers in KNOWERS.items()
        if within(name, (package,)) and not within(module_of(path), knowers)
    ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("pattern", "suffixes"),
    [(MACHINE_PATHS, ()), (UNFINISHED, tuple(CODE))],
    ids=["machine paths", "unfinished"],
)
def test_nothing_that_should_not_stand_in_the_tree(
    pattern: re.Pattern[str], suffixes: tuple[str, ...]
) -> None:
    found: list[str] = []
    for path in tracked(*suffixes):
        if path == Path(__file__).resolve() or path.suffix == ".lock":
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a golden file
        found += [
            f"{name_of(path)}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    assert not found, found


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme
    assert "make test" in (ROOT / ".ci/run").read_text() or "test" in (ROOT / ".ci/run").read_text().split()
