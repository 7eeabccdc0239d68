"""What an unknown name is told."""

from hubtune.errors import unknown_name

NAMES = [f"n{i:02}" for i in range(30)]


def test_names_that_begin_with_what_was_given_come_first_in_the_order_they_have():
    known = {"linear": 0, "hybrid-linear": 0, "hybrid-knn": 0, "hybrid-nce": 0, "hybrid-msc": 0}
    assert "did you mean 'hybrid-linear' or 'hybrid-knn' or 'hybrid-nce'? " in str(unknown_name("strategy", "hybrid", known))
    assert "did you mean 'linear'" in str(unknown_name("strategy", "liner", known))
    assert str(unknown_name("thing", "ab", {"abc", "abd"})) == str(unknown_name("thing", "ab", {"abd", "abc"}))


def test_a_list_is_never_cut_by_one_and_the_command_that_lists_all_is_named():
    assert str(unknown_name("thing", "x", NAMES[:21])).endswith("n19, n20")
    assert str(unknown_name("thing", "x", NAMES[:22], "hubtune things")).endswith("n19, and 2 more; `hubtune things` lists all")
    assert str(unknown_name("field of knn", "x", [])) == "unknown field of knn 'x': it has no fields; leave x out"
