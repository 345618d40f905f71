"""Object stores as the control plane sees them: containers, credentials, and the root object that says whose
they are.

File data does not pass here: packs are written and read by the native core. `open_root_store` is the one
place that knows the kinds of stores.
"""

from collections.abc import Mapping

from gateway.objects.container import RootStore
from gateway.objects.credentials import azure_credentials
from gateway.objects.directory import DirectoryRootStore


def open_root_store(url: str, env: Mapping[str, str], *, prompt: bool = False) -> RootStore:
    """The control plane's side of a store (`file:///path` or `az://container[/prefix]`, as the configuration
    checked it). `prompt`: an operation is tried once and ends within seconds, for whoever repeats it.

    Nothing is contacted yet. Raises StartError where the environment holds no usable credential.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return DirectoryRootStore(rest)
    # Imported here: the SDK takes a second, and a directory does not need it.
    from gateway.objects.azure import AzureRootStore

    container, _, prefix = rest.partition("/")
    return AzureRootStore(azure_credentials(env), container, prefix, prompt=prompt)


def core_options(url: str, env: Mapping[str, str]) -> dict[str, str]:
    """The options that the native core needs to open the same store. They may hold secrets: never log them.

    Raises StartError where the environment holds no usable credential.
    """
    return {} if url.startswith("file:") else azure_credentials(env).core_options()
