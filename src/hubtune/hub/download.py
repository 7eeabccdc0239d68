"""Files from elsewhere: known ones from the caches of torch and Hugging Face, new ones only where their host answers."""

import functools
import os
import queue
import socket
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import huggingface_hub
import torch

from hubtune.errors import ModelError

_PATIENCE = 0.8  # seconds
_ADVICE = (
    "connect this machine once, or copy the weights here and open their folder (timm's local-dir form, or a checkpoint with a JSON "
    "beside it); Hub.open('demo') needs no download"
)


def file_from_url(url: str, wanted: str) -> Path:
    """A file of the web, kept in torch's cache.

    Args:
        url: of the file; where its name ends in "-<sha256>", the content is checked against it.
        wanted: the model's name for the message.

    Raises:
        ModelError: it is not in the cache and its host does not answer.
    """
    path = cached_url(url)
    if not path.exists():
        require_online(url, wanted)
        path.parent.mkdir(parents=True, exist_ok=True)
        named_hash = torch.hub.HASH_REGEX.search(path.name)
        torch.hub.download_url_to_file(url, str(path), named_hash.group(1) if named_hash else None, progress=False)
    return path


def cached_url(url: str) -> Path:
    """Where torch keeps the file of an address."""
    return Path(torch.hub.get_dir(), "checkpoints", os.path.basename(urllib.parse.urlsplit(url).path))


def file_from_huggingface(repository: str, names: tuple[str, ...], wanted: str) -> Path:
    """The first of several files that a repository has, kept in Hugging Face's cache.

    Args:
        repository: "ORG/NAME", or "ORG/NAME@REVISION".
        names: files, the preferred one first.
        wanted: the model's name for the message.

    Raises:
        ModelError: it is not in the cache and cannot be downloaded, or there is no such repository or revision, or none of them in it.
    """
    try:
        path = cached_huggingface(repository, names)
    except huggingface_hub.errors.HFValidationError as error:
        raise ModelError(f"{wanted} names no repository ({error}); expected ORG/NAME, or ORG/NAME@REVISION") from error
    if path:
        return path
    require_huggingface(wanted)
    repository, _, revision = repository.partition("@")
    for name in names:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision or None))
        except huggingface_hub.errors.LocalEntryNotFoundError as error:  # nobody was reached, though it is an EntryNotFoundError too
            raise _not_downloaded(name, wanted, error.__cause__ or error) from error
        except huggingface_hub.errors.EntryNotFoundError:
            continue
        except huggingface_hub.errors.RepositoryNotFoundError as error:
            raise ModelError(f"huggingface.co has no public repository {repository!r}; check its name, ORG/NAME") from error
        except huggingface_hub.errors.RevisionNotFoundError as error:
            raise ModelError(
                f"the repository {repository!r} has no revision {revision!r}; check what follows the @, or leave it out"
            ) from error
        except Exception as error:
            raise _not_downloaded(name, wanted, error) from error
    raise ModelError(f"the repository {repository!r} has none of {', '.join(names)}; choose one that timm can load")


def _not_downloaded(name: str, wanted: str, error: BaseException) -> ModelError:
    cause = " ".join(f"{type(error).__name__}: {error}".split())  # one line
    return ModelError(f"{name} of {wanted} is not on this machine and cannot be downloaded ({cause}); try again later, or {_ADVICE}")


def cached_huggingface(repository: str, names: tuple[str, ...]) -> Path | None:
    """The first of several files of a repository that is in Hugging Face's cache; None where none is."""
    repository, _, revision = repository.partition("@")
    for name in names:
        path = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(path, str):
            return Path(path)
    return None


def require_huggingface(wanted: str) -> None:
    """Return where Hugging Face may be asked and answers.

    Raises:
        ModelError: it is switched off by HF_HUB_OFFLINE, or does not answer.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise ModelError(f"{wanted} is not on this machine, and HF_HUB_OFFLINE forbids downloads; unset it and {_ADVICE}")
    require_online(os.environ.get("HF_ENDPOINT") or "https://huggingface.co", wanted)


def require_online(url: str, wanted: str) -> None:
    """Return where the host of an address answers; the answer is found out once a process, in under a second.

    Args:
        url: what would be downloaded.
        wanted: the model's name for the message.

    Raises:
        ModelError: the host does not answer.
    """
    host = urllib.parse.urlsplit(url).hostname or url
    proxy = urllib.request.getproxies().get("https")
    address = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else None
    target = (address.hostname or host, address.port or 80) if address else (host, 443)
    if not _answers(*target):
        raise ModelError(f"{wanted} is not on this machine, and {target[0]} does not answer; {_ADVICE}")


@functools.cache
def _answers(host: str, port: int) -> bool:
    """In a thread, as a silent name server would hold us up for many seconds."""
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def probe() -> None:
        try:
            socket.create_connection((host, port), timeout=_PATIENCE).close()
            answers.put(True)
        except OSError:
            answers.put(False)

    threading.Thread(target=probe, daemon=True).start()
    try:
        return answers.get(timeout=_PATIENCE)
    except queue.Empty:
        return False
