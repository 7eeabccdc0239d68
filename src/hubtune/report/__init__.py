"""Tables for the terminal, the page of a run, and the card of a deployed model; all of it reads runs only."""

from hubtune.report.page import render, write
from hubtune.report.readme import model_card
from hubtune.report.terminal import search_table, summary

__all__ = ["model_card", "render", "search_table", "summary", "write"]
