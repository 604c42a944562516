"""The loaders on published traces, which are not part of the repository."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from workloads import Workload, load

TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"
pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason="no published traces at ../shared/data/traces")


@pytest.fixture(scope="module")
def conversation() -> Workload:
    return load(TRACES / "mooncake_conversation_trace.jsonl.gz", "mooncake")


@pytest.mark.parametrize(
    ("name", "format", "rows"),
    [
        ("mooncake_synthetic_trace.jsonl.gz", "mooncake", 3993),
        ("mooncake_arxiv_toolagent_first1000.jsonl.gz", "mooncake", 1000),
        ("azure_2023_code.csv.gz", "azure", 8819),
        ("azure_2023_conv.csv.gz", "azure", 19366),
    ],
)
def test_they_load_whole_and_in_order(name: str, format: str, rows: int):
    workload = load(TRACES / name, format)
    assert len(workload) == rows
    assert (np.diff(workload.arrival_s) >= 0).all()
    assert workload.arrival_s[0] == 0.0


def test_an_infinite_cache_hits_what_an_independent_count_says(conversation: Workload):
    reference = json.loads((TRACES / "reference_prefix_hits.json").read_text())["mooncake_conversation"]
    assert len(conversation) == reference["requests"]
    hit_blocks = -(-conversation.prefix_tokens // 512)
    assert hit_blocks.sum() == reference["infinite"]["hit_blocks"]
    lines = "".join(f"{hits}\n" for hits in hit_blocks)
    assert sha256(lines.encode()).hexdigest() == reference["infinite"]["per_request_hits_sha256"]
    ratio = conversation.summary()["prefix_hit_ratio"]
    assert ratio == pytest.approx(reference["infinite"]["token_hit_ratio"], abs=1e-6)


def test_a_head_shares_what_the_whole_does(conversation: Workload):
    head = conversation.head(2000)
    assert np.array_equal(head.prefix_request, conversation.prefix_request[:2000])
    assert np.array_equal(head.prefix_tokens, conversation.prefix_tokens[:2000])


def test_jitter_fills_the_coarse_ticks_in_order(conversation: Workload):
    spread = conversation.jitter(seed=0)
    assert (np.diff(spread.arrival_s) >= 0).all()
    assert len(np.unique(spread.arrival_s)) > 0.99 * len(spread)
    assert np.abs(spread.arrival_s - conversation.arrival_s).max() < 60
