from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hubtune.tasks.cutting import held_out, interleaved, quotas

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)
FRACTION = st.floats(0.05, 0.95)
SEED = st.integers(0, 5)


@given(LABELS, FRACTION, SEED)
def test_each_class_holds_out_its_quota(labels, fraction, seed):
    mask = held_out(labels, [f"image {i}" for i in range(len(labels))], fraction, seed)
    counts = np.bincount(labels)
    held = np.bincount(np.array(labels)[mask], minlength=len(counts))
    assert (held == quotas(counts, fraction)).all()
    assert (np.abs(held - fraction * counts) <= 1).all()
    assert (held < np.maximum(counts, 1)).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=60), FRACTION, SEED)
def test_groups_are_never_cut_and_no_class_leaves_train(rows, fraction, seed):
    labels, groups = [label for label, _ in rows], [str(group) for _, group in rows]
    mask = held_out(labels, groups, fraction, seed)
    for group in set(groups):
        assert len({bool(mask[i]) for i, other in enumerate(groups) if other == group}) == 1
    assert set(labels) == {label for label, held in zip(labels, mask, strict=True) if not held}


@given(LABELS, FRACTION, SEED, st.randoms())
def test_the_order_of_rows_does_not_matter(labels, fraction, seed, random):
    keys = [f"image {i}" for i in range(len(labels))]
    mask = held_out(labels, keys, fraction, seed)
    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = held_out([labels[i] for i in order], [keys[i] for i in order], fraction, seed)
    assert (shuffled == mask[order]).all()
    assert [keys[i] for i in interleaved(labels, keys)] == [
        keys[order[i]] for i in interleaved([labels[i] for i in order], [keys[i] for i in order])
    ]


def test_a_class_of_large_groups_still_holds_one_out():
    labels, groups = [0] * 40 + [1] * 40, [f"{i // 20}" for i in range(80)]
    mask = held_out(labels, groups, 0.2, 0)
    assert np.bincount(np.array(labels)[mask]).tolist() == [20, 20]


def test_an_image_more_moves_few_others():
    labels, keys = [i % 4 for i in range(400)], [f"image {i}" for i in range(400)]
    before = held_out(labels, keys, 0.2, 0)
    after = held_out([*labels, 0], [*keys, "another"], 0.2, 0)[:-1]
    assert (before != after).sum() <= 2


def test_the_seed_draws_another_part():
    labels, keys = [0, 1] * 50, [f"image {i}" for i in range(100)]
    assert (held_out(labels, keys, 0.2, 0) != held_out(labels, keys, 0.2, 1)).any()


@given(LABELS)
def test_every_beginning_holds_the_classes_in_their_proportions(labels):
    order = interleaved(labels, [f"image {i}" for i in range(len(labels))])
    assert sorted(order) == list(range(len(labels)))
    counts = Counter(labels)
    for n in range(1, len(labels) + 1):
        begun = Counter(labels[i] for i in order[:n])
        assert all(abs(begun[label] - n * counts[label] / len(labels)) <= len(counts) for label in counts)


def test_classes_of_one_size_take_turns():
    order = interleaved([0] * 10 + [1] * 10 + [2] * 10, [str(i) for i in range(30)])
    assert [i // 10 for i in order] == [0, 1, 2] * 10
