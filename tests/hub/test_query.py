"""``where`` filters; nothing but one condition can run."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubtune.errors import ConfigurationError
from hubtune.hub import ModelCard, query
from hubtune.hub.card import FIELDS
from hubtune.hub.query import select


def card(name: str, **fields) -> ModelCard:
    return ModelCard(**{"name": name, "source": "test", "architecture": "net", "params": 10, "input_size": 32, **fields})


CARDS = [
    card("small", params=1_000, paradigm="supervised classification", license="mit", upstream_accuracy=0.7),
    card("big", params=9_000_000, paradigm="supervised classification", flops=10),
    card("o'hara", params=5_000, paradigm="self-supervised", pretraining="a; drop -- (b"),
]


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("params < 5e6", ["small", "o'hara"]),
        ("params < 5e6 and paradigm like 'supervised%'", ["small"]),
        ("PARAMS > 2000", ["big", "o'hara"]),
        ("name = 'o''hara'", ["o'hara"]),
        ("pretraining = 'a; drop -- (b'", ["o'hara"]),
        ("(params < 2000) or (flops is not null)", ["small", "big"]),
        ("upstream_accuracy > 0.5", ["small"]),
        ("license is null", ["big", "o'hara"]),
        ("not (license is null)", ["small"]),
        ("name in ('big', 'small')", ["small", "big"]),
        ("params between 1000 and 5000", ["small", "o'hara"]),
        ("lower(name) glob 's*' and length(name) = 5", ["small"]),
        ('"params" < 2000', ["small"]),
        ("coalesce(flops, 0) = 10", ["big"]),
        ("case when params > 10000 then 1 else 0 end", ["big"]),
        ("1", ["small", "big", "o'hara"]),
        ("0", []),
    ],
)
def test_conditions_select_in_the_order_of_the_cards(condition, names):
    assert select(CARDS, condition) == names


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "   ",
        "1); DROP TABLE cards",
        "1); DROP TABLE cards; --",
        "1; SELECT 1",
        "1) --",
        "1 /* x",
        "1) LIMIT (1",
        "1) UNION SELECT (sql) FROM sqlite_master WHERE (1",
        "1) OR (1",
        ")(",
        "(select 1)",
        "exists (select 1 from sqlite_master)",
        "name in (select name from cards)",
        "params in cards",
        "1 union select 1",
        "(with recursive r(x) as (select 1 union all select x + 1 from r) select max(x) from r)",
        "ATTACH DATABASE '/tmp/x.db' AS x",
        "PRAGMA table_info(cards)",
        "load_extension('x')",
        "randomblob(1000000000)",
        "zeroblob(1000000000)",
        "printf('%1000000d', 1)",
        "replace(hex(name), '6', 'aaaaaaaa')",
        "max(params)",
        "count(*) > 1",
        "rowid = 1",
        "cards.rowid = 1",
        "?",
        ":x",
        "name = 'open",
        "\0",
        "name = '\0'",
        "\ud800",
        "params <",
        "1" * 20_000,
        "(" * 500 + "1" + ")" * 500,
        None,
        3,
    ],
)
def test_anything_else_is_one_error_with_fields_and_an_example(condition):
    with pytest.raises(ConfigurationError) as caught:
        select(CARDS, condition)
    text = str(caught.value)
    assert "params < 5e6" in text
    assert all(field in text for field in FIELDS)
    assert len(text) < 2_000


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(ConfigurationError, match=r"no such column: parms \(did you mean 'params'"):
        select(CARDS, "parms < 5e6")


def test_text_in_double_quotes_is_not_taken_for_text_silently():
    with pytest.raises(ConfigurationError, match="single quotes: 'mit'"):
        select(CARDS, 'license = "mit"')


def test_an_expensive_condition_is_stopped():
    many = [card(str(i)) for i in range(2_000)]
    term = "params + abs(params * 3 - 2)"
    costly = " + ".join(f"{term} + {i}" for i in range(60))
    assert select(many, f"{costly} < 0") == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query, "_STEPS_A_CARD", 10)
        with pytest.raises(ConfigurationError, match="too many steps"):
            select(many, f"{costly} < 0")


def test_a_hundred_thousand_cards_can_be_filtered():
    many = [card(f"m{i}", params=i) for i in range(100_000)]
    assert len(select(many, "params < 500 and paradigm = 'unknown'")) == 500


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="params<>=()'\";-/*, 0123456789nmeslcturkiwhdob%", max_size=40))
def test_no_text_does_more_than_select_or_raise(text):
    try:
        names = select(CARDS, text)
    except ConfigurationError:
        return
    assert set(names) <= {card.name for card in CARDS}
