"""Without a connection an answer comes at once and says what to do."""

import io
import socket
import threading

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from hubtune.errors import ModelError
from hubtune.hub import download


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    download._answers.cache_clear()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(download.urllib.request, "getproxies", dict)
    yield
    download._answers.cache_clear()


def refuse(*args, **kwargs):
    raise OSError("no network")


def test_an_unreachable_host_is_named_with_advice(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(ModelError, match=r"net is not on this machine, and example\.org does not answer; .*local-dir.*demo"):
        download.file_from_url("https://example.org/net.pth", "net")


def test_the_answer_is_found_out_once(monkeypatch):
    asked = []

    def count(address, timeout):
        asked.append(address)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", count)
    for _ in range(3):
        with pytest.raises(ModelError):
            download.require_online("https://example.org/a", "net")
    assert asked == [("example.org", 443)]


def test_a_silent_name_server_does_not_hold_us_up(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: release.wait(30) and refuse())
    monkeypatch.setattr(download, "_PATIENCE", 0.01)
    with pytest.raises(ModelError, match="does not answer"):
        download.require_online("https://example.org/a", "net")
    release.set()


def test_behind_a_proxy_the_proxy_is_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(download.urllib.request, "getproxies", lambda: {"https": "http://proxy.local:3128"})
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: asked.append(address) or io.BytesIO())
    download.require_online("https://example.org/a", "net")
    assert asked == [("proxy.local", 3128)]


def test_a_known_file_needs_no_connection(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", refuse)
    path = download.cached_url("https://example.org/x/net-0123abcd.pth")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"1")
    assert download.file_from_url("https://example.org/x/net-0123abcd.pth", "net") == path


def test_a_new_file_is_checked_against_the_hash_in_its_name(monkeypatch):
    calls = []
    monkeypatch.setattr(download, "require_online", lambda url, wanted: None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *args, **kwargs: calls.append(args))
    download.file_from_url("https://example.org/net-0123abcd.pth", "net")
    download.file_from_url("https://example.org/net.pth", "net")
    assert [call[2] for call in calls] == ["0123abcd", None]


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_a_switch_against_downloads_is_honoured_and_named(monkeypatch, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: pytest.fail("asked the network"))
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        download.require_huggingface("net")


def answered(kind: type[Exception], text: str) -> Exception:
    """An error of Hugging Face's, without the response that it was read from."""
    error = kind.__new__(kind)
    error.args = (text,)
    return error


def lost() -> Exception:
    error = errors.LocalEntryNotFoundError("check your connection")
    error.__cause__ = ConnectionError("no route\nto host")
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lost(), r"^a\.json of net is not on this machine and cannot be downloaded \(ConnectionError: no route to host\); try again.*$"),
        (
            answered(errors.HfHubHTTPError, "429 Too Many\n\nRequests"),
            r"^a\.json of net .*\(HfHubHTTPError: 429 Too Many Requests\); try.*$",
        ),
        (answered(errors.RevisionNotFoundError, "404"), "^the repository 'me/net' has no revision 'v9'; check what follows the @"),
        (answered(errors.RepositoryNotFoundError, "404"), "no public repository 'me/net'"),
        (answered(errors.EntryNotFoundError, "404"), r"the repository 'me/net' has none of a\.json, b\.json"),
    ],
)
def test_what_hugging_face_answers_is_told_apart(monkeypatch, error, message):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(download, "require_huggingface", lambda wanted: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(ModelError, match=message):
        download.file_from_huggingface("me/net@v9", ("a.json", "b.json"), "net")
