import torch
from hypothesis import given
from hypothesis import strategies as st

from hubtune.features import FeatureCache


def rows(keys, offset=0.0):
    return {"embeddings": torch.tensor([[ord(key[0]) + offset, 1.0] for key in keys])}


def test_what_is_written_is_read_in_the_order_asked_for(tmp_path):
    cache = FeatureCache(tmp_path / "m")
    cache.write(["a", "b", "c"], rows("abc"))
    found, missing = cache.read(["c", "x", "a", "c"])
    assert missing == [1]
    assert torch.equal(found["embeddings"][[0, 2, 3]], rows("cac")["embeddings"])


def test_an_empty_cache_knows_nothing(tmp_path):
    assert FeatureCache(tmp_path / "none").read(["a", "b"]) == ({}, [0, 1])


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True), max_size=5),
    st.lists(st.sampled_from("abcdefghij"), max_size=8),
)
def test_any_files_together_answer_any_question(tmp_path_factory, writes, question):
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    for keys in writes:
        cache.write(keys, rows(keys))
    known = {key for keys in writes for key in keys}
    found, missing = cache.read(question)
    assert missing == [i for i, key in enumerate(question) if key not in known]
    for i, key in enumerate(question):
        if key in known:
            assert torch.equal(found["embeddings"][i], rows(key)["embeddings"][0])


def damage(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "flipped":
        content[-3] ^= 0xFF
    else:
        content = bytearray(b"nonsense")
    path.write_bytes(bytes(content))


def test_a_damaged_file_is_noticed_and_forgotten(tmp_path):
    for kind in ("truncated", "flipped", "nonsense"):
        cache = FeatureCache(tmp_path / kind)
        cache.write(["a", "b"], rows("ab"))
        cache.write(["c"], rows("c"))
        damage(next(p for p in cache.folder.iterdir() if b"a" in p.read_bytes() and b'\\"a\\"' in p.read_bytes()), kind)
        found, missing = cache.read(["a", "b", "c"])
        assert missing == [0, 1]
        assert found["embeddings"][2, 0] == ord("c")
        assert len(list(cache.folder.iterdir())) == 1


def test_writing_the_same_images_twice_is_one_file(tmp_path):
    cache = FeatureCache(tmp_path)
    for _ in range(2):
        cache.write(["a", "b"], rows("ab"))
    assert len(list(tmp_path.iterdir())) == 1
