"""Transferability estimators: pure functions of features (or source probabilities) and labels. Higher is better."""

from hubtune.proxies.gbc import gbc
from hubtune.proxies.h_score import h_score
from hubtune.proxies.h_score_regularized import h_score_regularized
from hubtune.proxies.knn import knn3_accuracy, knn_accuracy
from hubtune.proxies.leep import leep
from hubtune.proxies.linear import linear_accuracy, linear_probe
from hubtune.proxies.logme import logme
from hubtune.proxies.loo_ridge import loo_ridge_accuracy
from hubtune.proxies.msc import msc
from hubtune.proxies.nce import nce
from hubtune.proxies.nleep import nleep
from hubtune.proxies.pactran import pactran
from hubtune.proxies.parc import parc
from hubtune.proxies.prepared import Features
from hubtune.proxies.sgd import linear_fit
from hubtune.proxies.table import PROXIES, Proxy, ProxyInputs, evaluate, find_proxy
from hubtune.proxies.transrate import transrate

__all__ = [
    "PROXIES",
    "Features",
    "Proxy",
    "ProxyInputs",
    "evaluate",
    "find_proxy",
    "gbc",
    "h_score",
    "h_score_regularized",
    "knn3_accuracy",
    "knn_accuracy",
    "leep",
    "linear_accuracy",
    "linear_fit",
    "linear_probe",
    "logme",
    "loo_ridge_accuracy",
    "msc",
    "nce",
    "nleep",
    "pactran",
    "parc",
    "transrate",
]
