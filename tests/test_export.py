"""What is written for other tools, and read back."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from workloads import Workload, WorkloadError, generate, load
from workloads.export import block_ids, to_csv, to_mooncake, to_vllm
from workloads.nominal import nominal_arrival_s, open_loop

TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"


def branching() -> Workload:
    """Prompts that end inside and at the end of blocks of 512, and one that repeats an answer."""
    return Workload.build(
        arrival_s=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        input_tokens=[1300, 600, 600, 600, 1024, 1400, 2000],
        output_tokens=[300, 1, 1, 50, 500, 7, 1],
        prefix_request=[-1, 0, 1, 0, 0, 0, 4],
        prefix_tokens=[0, 600, 600, 599, 1024, 1400, 1500],
    )


def shared_tokens(workload: Workload) -> np.ndarray:
    """(N, N) how many leading tokens two prompts have in common, by the definition of the columns."""
    paths: list[list[tuple[int, int]]] = []
    for row in range(len(workload)):
        other, shared = workload.prefix_request[row], workload.prefix_tokens[row]
        length = int(workload.input_tokens[row] + workload.output_tokens[row])
        paths.append((paths[other][:shared] if other >= 0 else []) + [(row, at) for at in range(shared, length)])
    common = np.zeros((len(paths), len(paths)), np.int64)
    for a in range(len(paths)):
        for b in range(len(paths)):
            most = min(workload.input_tokens[a], workload.input_tokens[b])
            common[a, b] = next((i for i in range(most) if paths[a][i] != paths[b][i]), most)
    return common


@pytest.mark.parametrize("workload", [branching(), open_loop(generate("chatbot", 3, {"requests": 60}))])
@pytest.mark.parametrize("block_tokens", [16, 512])
def test_blocks_have_equal_ids_exactly_where_prompts_are_equal(workload: Workload, block_tokens: int):
    offsets, ids = block_ids(workload, block_tokens)
    common = shared_tokens(workload)
    rows = [ids[a:b].tolist() for a, b in pairwise(offsets)]
    for a, left in enumerate(rows):
        assert len(left) == -(-workload.input_tokens[a] // block_tokens)
        for b, right in enumerate(rows):
            whole = common[a, b] // block_tokens
            if common[a, b] == workload.input_tokens[a] == workload.input_tokens[b]:
                whole = len(left)
            equal = [x == y for x, y in zip(left, right, strict=False)]
            assert equal == [True] * whole + [False] * (len(equal) - whole)
            assert not set(left[whole:]) & set(right[whole:])


def test_mooncake_keeps_block_sharing(tmp_path):
    workload = branching()
    to_mooncake(workload, tmp_path / "t.jsonl")
    back = load(tmp_path / "t.jsonl", "mooncake")
    assert back.arrival_s.tolist() == workload.arrival_s.tolist()
    assert back.prefix_tokens.tolist() == [0, 512, 600, 512, 1024, 1024, 1024]
    to_mooncake(back, tmp_path / "u.jsonl")  # what is left is in whole blocks, and stays
    assert load(tmp_path / "u.jsonl", "mooncake") == back


@pytest.mark.skipif(not TRACES.is_dir(), reason="no published traces at ../shared/data/traces")
@pytest.mark.parametrize("name", ["mooncake_conversation_trace", "mooncake_arxiv_toolagent_first1000"])
def test_published_mooncake_traces_come_back_equal(tmp_path, name: str):
    workload = load(TRACES / f"{name}.jsonl.gz", "mooncake")
    to_mooncake(workload, tmp_path / "t.jsonl")
    assert load(tmp_path / "t.jsonl", "mooncake") == workload


def test_mooncake_is_written_in_order_of_time(tmp_path):
    workload = Workload.build(arrival_s=[2.0, 1.0], input_tokens=[5, 6], output_tokens=[1, 1])
    to_mooncake(workload, tmp_path / "t.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [(line["timestamp"], line["input_length"]) for line in lines] == [(1000, 6), (2000, 5)]


@pytest.mark.parametrize("write", [to_mooncake, to_vllm])
def test_follow_ups_need_a_time(tmp_path, write):
    chat = generate("chatbot", 0, {"requests": 40})
    with pytest.raises(WorkloadError, match=r"^parent, row \d+: is a follow-up .* export open_loop\(workload\)$"):
        write(chat, tmp_path / "t.jsonl")
    assert not (tmp_path / "t.jsonl").exists()
    write(open_loop(chat), tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    "workload",
    [
        generate("chatbot", 1, {"requests": 300}),
        Workload.build(
            arrival_s=[0.1 + 0.2, 1 / 3, 0.0],
            input_tokens=[1, 2, 3],
            output_tokens=[4, 5, 6],
            category=[0, 1, 0],
            category_names=['with, comma and "quotes"', "b"],
            priority=[-1, 0, 2],
        ),
    ],
)
def test_csv_comes_back_equal(tmp_path, workload: Workload):
    to_csv(workload, tmp_path / "t.csv")
    assert load(tmp_path / "t.csv", "csv") == workload


def test_vllm_prompts_have_a_word_per_token_and_share_as_the_workload_does(tmp_path):
    workload = branching()
    to_vllm(workload, tmp_path / "t.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [line["output_tokens"] for line in lines] == workload.output_tokens.tolist()
    words = [line["prompt"].split(" ") for line in lines]
    assert [len(prompt) for prompt in words] == workload.input_tokens.tolist()
    common = shared_tokens(workload)
    for a in range(len(words)):
        for b in range(len(words)):
            shared = common[a, b]
            assert words[a][:shared] == words[b][:shared]
            rest = words[a][shared : shared + 16], words[b][shared : shared + 16]
            assert rest[0] != rest[1] or not all(rest)


def test_nominal_arrivals():
    workload = Workload.build(
        arrival_s=[1.0, np.nan, np.nan],
        input_tokens=[100, 150, 200],
        output_tokens=[10, 20, 30],
        parent=[-1, 0, 1],
        think_s=[0.0, 5.0, 7.0],
        prefix_request=[-1, 0, 1],
        prefix_tokens=[0, 110, 170],
    )
    arrivals = nominal_arrival_s(workload, prefill_s_per_token=0.01, decode_s_per_token=0.1)
    assert arrivals == pytest.approx([1.0, 1 + 1 + 1 + 5, 8 + 0.4 + 2 + 7])
    replayed = open_loop(workload, prefill_s_per_token=0.01, decode_s_per_token=0.1)
    assert replayed.arrival_s.tolist() == arrivals.tolist()
    assert (replayed.parent == -1).all()
    assert replayed.prefix_tokens.tolist() == workload.prefix_tokens.tolist()
