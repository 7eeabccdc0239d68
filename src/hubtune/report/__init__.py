"""Tables for the terminal, the page of a run, and the card of a deployed model; all of it reads runs only."""

from hubtune.report.page import render, write
from hubtune.report.readme import model_card
from hubtune.report.regret_page import write_regret
from hubtune.report.regret_tables import regret_tables
from hubtune.report.terminal import comparison_table, search_table, summary

__all__ = ["comparison_table", "model_card", "regret_tables", "render", "search_table", "summary", "write", "write_regret"]
