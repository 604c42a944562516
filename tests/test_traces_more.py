"""Loaders of Qwen-Bailian, BurstGPT, agentic and ServeGen offline traces.

The first two and the last are tested on hand-made files in the published formats, as their data is not at hand.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workloads import TraceError, load

AGENTIC = Path(__file__).parents[2] / "shared" / "data" / "traces" / "weka_claude_code_requests.parquet"


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def complaint(path: Path, format: str, **options: Any) -> str:
    with pytest.raises(TraceError) as caught:
        load(path, format, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


# --- Qwen-Bailian ---


def chat(
    chat_id: int, parent: int, timestamp: float, tokens: int, hash_ids: list[int], **change: Any
) -> dict[str, Any]:
    row = {
        "chat_id": chat_id,
        "parent_chat_id": parent,
        "timestamp": timestamp,
        "input_length": tokens,
        "output_length": 10,
        "type": "text",
        "turn": 1 if parent == -1 else 2,
        "hash_ids": hash_ids,
    }
    return row | change


BAILIAN = [
    chat(7, -1, 0.0, 40, [1, 2, 3]),
    chat(9, 7, 5.0, 70, [1, 2, 4, 5, 6]),
    chat(8, -1, 2.5, 33, [1, 7, 8], type="search"),
    chat(11, 3, 6.0, 16, [9], turn=4),  # its parent came before the excerpt
    chat(12, 11, 7.0, 20, [9, 10], turn=5),
]


def test_bailian(tmp_path):
    workload = load(write_jsonl(tmp_path / "t.jsonl", BAILIAN), "bailian")
    assert workload.arrival_s.tolist() == [0.0, 2.5, 5.0, 6.0, 7.0]
    assert workload.input_tokens.tolist() == [40, 33, 70, 16, 20]
    assert [workload.category_names[c] for c in workload.category] == ["text", "search", "text", "text", "text"]
    assert workload.session.tolist() == [0, 1, 0, 2, 2]
    assert workload.turn.tolist() == [0, 0, 1, 3, 4]
    assert (workload.parent == -1).all()  # recorded times are replayed
    assert workload.prefix_request.tolist() == [-1, 0, 0, -1, 3]
    assert workload.prefix_tokens.tolist() == [0, 16, 32, 0, 16]


@pytest.mark.parametrize(
    ("row", "change", "message"),
    [
        (1, {"chat_id": 7}, ":2: chat_id: 7 is also the chat of line 1"),
        (1, {"parent_chat_id": 12}, ":2: parent_chat_id: chat 12 does not come before this one"),
        (1, {"parent_chat_id": 9}, ":2: parent_chat_id: chat 9 does not come before this one"),
        (1, {"parent_chat_id": None}, ":2: parent_chat_id: None is not an integer"),
        (1, {"turn": 0}, ":2: turn: -1 is below 0"),
        (1, {"hash_ids": [1, 2]}, ":2: hash_ids: 2 ids for 70 tokens in blocks of 16; expected 5"),
        (0, {"timestamp": -1}, ":1: timestamp: -1.0 is not a finite time"),
        (1, {"timestamp": float("nan")}, ":2: timestamp: nan is not a finite number"),
        (1, {"type": 3}, ":2: type: 3 is not a string"),
        (1, {"output_length": 0}, ":2: output_length: 0 is below 1"),
    ],
)
def test_bad_bailian_rows(tmp_path, row: int, change: dict[str, Any], message: str):
    rows = [dict(each) for each in BAILIAN]
    rows[row] |= change
    assert complaint(write_jsonl(tmp_path / "t.jsonl", rows), "bailian").startswith(message)


def test_a_misspelt_bailian_field_is_named(tmp_path):
    rows = [{k if k != "parent_chat_id" else "parent_chatid": v for k, v in row.items()} for row in BAILIAN]
    message = complaint(write_jsonl(tmp_path / "t.jsonl", rows), "bailian")
    assert message.startswith(":1: parent_chat_id: missing field; did you mean 'parent_chatid'?")


# --- BurstGPT ---

BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,230,1317,API log
118,GPT-4,417,0,417,API log
60,ChatGPT,30,3,33,Conversation log
"""


def burstgpt(path: Path, old: str = "", new: str = "") -> Path:
    path.write_text(BURSTGPT.replace(old, new) if old else BURSTGPT)
    return path


def test_burstgpt(tmp_path):
    workload = load(burstgpt(tmp_path / "t.csv"), "burstgpt", failed="skip")
    assert workload.arrival_s.tolist() == [5.0, 45.0, 60.0]
    assert workload.input_tokens.tolist() == [472, 1087, 30]
    assert workload.output_tokens.tolist() == [18, 230, 3]
    assert workload.category_names == ("ChatGPT, Conversation log", "GPT-4, API log")
    assert workload.category.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", ":4: Response tokens: 0, as in 1 rows: requests that failed; option failed='skip'"),
        (",1317,", ",1300,", ":3: Total tokens: is not 1087 request and 230 response tokens"),
        ("45,", "soon,", ":3: Timestamp: 'soon' is not a finite number"),
        ("45,", "-45,", ":3: Timestamp: -45.0 is not a finite time"),
        ("230,1317", "-230,857", ":3: Response tokens: -230 is below 1"),
        ("Log Type", "Log", ":1: Log Type: missing field"),
        ("API log\n118", "API log,9\n118", ":3: 7 cells, but the header has 6"),
    ],
)
def test_bad_burstgpt_files(tmp_path, old: str, new: str, message: str):
    options = {"failed": "skip"} if old else {}
    assert complaint(burstgpt(tmp_path / "t.csv", old, new), "burstgpt", **options).startswith(message)


def test_burstgpt_options(tmp_path):
    path = burstgpt(tmp_path / "t.csv")
    assert complaint(path, "burstgpt", failed="skp") == "failed: unknown choice 'skp'; did you mean 'skip'?"
    path.write_text("\n".join([*BURSTGPT.splitlines()[:1], "1,GPT-4,5,0,5,API log"]) + "\n")
    assert "all 1 requests failed" in complaint(path, "burstgpt", failed="skip")


# --- ServeGen offline ---

STAT = {"request_id": 0, "type": "text", "input_length": 61, "output_length": 2370, "duration": 14000}
CONTENT = {"request_id": 0, "type": "multimodal", "input_length": 40, "hash_ids": [1, 2, 3], "img_ids": ["img_1"]}


def test_servegen_offline_stat_traces(tmp_path):
    rows = [STAT | {"request_id": 1, "input_length": 54}, STAT]
    workload = load(write_jsonl(tmp_path / "t.jsonl", rows), "servegen-offline")
    assert workload.arrival_s.tolist() == [0.0, 0.0]
    assert workload.input_tokens.tolist() == [61, 54]  # in the order of request_id
    assert workload.output_tokens.tolist() == [2370, 2370]
    assert workload.category_names == ("text",)


def test_servegen_offline_content_traces(tmp_path):
    rows = [CONTENT, CONTENT | {"request_id": 1, "input_length": 33, "hash_ids": [1, 2, 4]}]
    workload = load(write_jsonl(tmp_path / "t.jsonl", rows), "servegen-offline", output_tokens=128)
    assert workload.output_tokens.tolist() == [128, 128]
    assert workload.prefix_tokens.tolist() == [0, 32]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([CONTENT], {}, ": has no answer lengths; give the option output_tokens"),
        ([STAT], {"output_tokens": 5}, ": output_tokens is given, but the file has answer lengths"),
        ([CONTENT | {"duration": 3}], {"output_tokens": 5}, ":1: duration: unknown field"),
        ([CONTENT | {"output_length": 3}], {"output_tokens": 5}, ":1: output_length: unknown field"),
        ([CONTENT | {"hash_ids": [1, 2]}], {"output_tokens": 5}, ":1: hash_ids: 2 ids for 40 tokens"),
        ([STAT | {"input_length": -4}], {}, ":1: input_length: -4 is below 1"),
        ([{k: v for k, v in STAT.items() if k != "duration"}], {}, ":1: duration: missing field"),
    ],
)
def test_bad_servegen_offline_files(tmp_path, rows: list[Any], options: dict[str, Any], message: str):
    assert complaint(write_jsonl(tmp_path / "t.jsonl", rows), "servegen-offline", **options).startswith(message)


# --- agentic sessions ---


def agentic_rows() -> dict[str, list[Any]]:
    return {
        "session": ["a", "a", "a", "a", "a", "b"],
        "context": ["root", "root", "root/agent_001", "root", "root/agent_002", "root"],
        "t": [0.0, 12.0, 15.0, 40.0, 1.0, 0.0],
        "model": ["x", "x", "y", "x", "y", "x"],
        "input_length": [130, 200, 64, 260, 70, 128],
        "output_length": [5, 6, 7, 8, 9, 4],
        "api_time": [2.0, 2.0, 3.0, 1.0, 1.0, 1.0],
        "think_time": [0.0, 10.0, 0.0, 26.0, 0.0, 0.0],
        "n_blocks": [2, 3, 1, 4, 1, 2],
        "prefix_len_prev": [0, 2, 0, 2, 0, 0],
        "suffix_hash_ids": [[1, 2], [3], [1], [4, 5], [9], [1, 2]],
    }


def write_agentic(path: Path, rows: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(rows), path)
    return path


def test_agentic_closed_loop(tmp_path):
    workload = load(write_agentic(tmp_path / "t.parquet", agentic_rows()), "agentic", session_rate_per_s=1e-3)
    # Rows of session a, in order of time: root 0, agent_002, root 1, agent_001, root 2; then session b.
    assert workload.input_tokens.tolist() == [130, 70, 200, 64, 260, 128]
    assert workload.session.tolist() == [0, 0, 0, 0, 0, 1]
    assert workload.turn.tolist() == [0, 0, 1, 0, 2, 0]
    # agent_002 came before any root request had finished; agent_001 after the second one, at 14 s.
    assert workload.parent.tolist() == [-1, -1, 0, 2, 2, -1]
    assert workload.think_s.tolist() == [0.0, 0.0, 10.0, 1.0, 26.0, 0.0]
    assert workload.arrival_s[:2].tolist() == [0.0, 1.0]
    assert workload.arrival_s[5] > 40
    # Ids are local to a session: b's blocks 1 and 2 are not a's.
    assert workload.prefix_request.tolist() == [-1, -1, 0, 0, 0, -1]
    assert workload.prefix_tokens.tolist() == [0, 0, 128, 64, 128, 0]
    assert workload.category_names == ("x", "y")


def test_agentic_open_loop_and_seeds(tmp_path):
    path = write_agentic(tmp_path / "t.parquet", agentic_rows())
    first = load(path, "agentic", session_rate_per_s=1e-3, loop="open", seed=1)
    assert (first.parent == -1).all()
    assert first.arrival_s[:5].tolist() == [0.0, 1.0, 12.0, 15.0, 40.0]
    assert first == load(path, "agentic", session_rate_per_s=1e-3, loop="open", seed=1)
    assert first != load(path, "agentic", session_rate_per_s=1e-3, loop="open", seed=2)


def test_agentic_without_failed_requests(tmp_path):
    rows = agentic_rows()
    rows["output_length"][1] = 0
    path = write_agentic(tmp_path / "t.parquet", rows)
    message = complaint(path, "agentic", session_rate_per_s=1.0)
    assert message.startswith(": output_length, row 1: 0 as in 1 rows: requests that failed; option failed='skip'")
    workload = load(path, "agentic", session_rate_per_s=1e-3, failed="skip")
    assert workload.input_tokens.tolist() == [130, 70, 64, 260, 128]
    assert workload.parent.tolist() == [-1, -1, 0, 0, -1]
    assert workload.think_s.tolist() == [0.0, 0.0, 13.0, 38.0, 0.0]  # 10 s before, 2 s of and 26 s after the failure


@pytest.mark.parametrize(
    ("field", "row", "value", "message"),
    [
        ("t", 1, -1.0, ": t, row 1: -1.0 is not a finite time from 0 on"),
        ("t", 3, 11.0, ": t, row 3: 11.0 is before the last of its context"),
        ("think_time", 1, float("nan"), ": think_time, row 1: nan is not a finite time from 0 on"),
        ("n_blocks", 1, 4, ": n_blocks, row 1: 4 is not input_length // 64"),
        ("prefix_len_prev", 1, 3, ": prefix_len_prev, row 1: 3 is more blocks than the previous request has"),
        ("prefix_len_prev", 0, 1, ": prefix_len_prev, row 0: 1 is more blocks than the previous request has"),
        ("prefix_len_prev", 1, 1, ": n_blocks, row 1: 3 is not prefix_len_prev and the suffix's ids"),
        ("input_length", 2, 0, ": input_length, row 2: 0 is below 1"),
        ("output_length", 2, -1, ": output_length, row 2: -1 is below 0"),
        ("session", 1, "b", ": session, row 2: comes again; keep its rows together"),
        ("model", 1, None, ": model: 1 empty cells; fill them"),
    ],
)
def test_bad_agentic_rows(tmp_path, field: str, row: int, value: Any, message: str):
    rows = agentic_rows()
    rows[field][row] = value
    assert complaint(write_agentic(tmp_path / "t.parquet", rows), "agentic", session_rate_per_s=1.0).startswith(message)


def test_bad_agentic_files_and_options(tmp_path):
    path = write_agentic(tmp_path / "t.parquet", agentic_rows())
    assert "needs the option session_rate_per_s" in complaint(path, "agentic")
    assert "got -1" in complaint(path, "agentic", session_rate_per_s=-1)
    assert "did you mean 'open'?" in complaint(path, "agentic", session_rate_per_s=1, loop="opn")
    assert "no such file" in complaint(tmp_path / "none.parquet", "agentic", session_rate_per_s=1)
    (tmp_path / "text.parquet").write_text("no")
    assert "not readable as Parquet" in complaint(tmp_path / "text.parquet", "agentic", session_rate_per_s=1)
    rows = {name: values for name, values in agentic_rows().items() if name != "think_time"}
    other = write_agentic(tmp_path / "o.parquet", rows)
    assert complaint(other, "agentic", session_rate_per_s=1).startswith(": think_time: missing field")
    rows = agentic_rows() | {"suffix_hash_ids": [1, 2, 3, 4, 5, 6]}
    other = write_agentic(tmp_path / "o.parquet", rows)
    assert "suffix_hash_ids: holds int64, expected lists" in complaint(other, "agentic", session_rate_per_s=1)
    rows = agentic_rows() | {"suffix_hash_ids": [[1, None], [3], [1], [4, 5], [9], [1, 2]]}
    other = write_agentic(tmp_path / "o.parquet", rows)
    assert "suffix_hash_ids: 1 empty ids; fill them" in complaint(other, "agentic", session_rate_per_s=1)
    rows = agentic_rows() | {"input_length": ["1"] * 6}
    other = write_agentic(tmp_path / "o.parquet", rows)
    assert "input_length: holds string, expected integers" in complaint(other, "agentic", session_rate_per_s=1)


@pytest.mark.skipif(not AGENTIC.is_file(), reason="no agentic sessions at ../shared/data/traces")
def test_the_published_agentic_sessions():
    workload = load(AGENTIC, "agentic", session_rate_per_s=0.01, failed="skip", loop="closed")
    table = pd.read_parquet(AGENTIC, columns=["output_length", "input_length", "prefix_len_prev"])
    answered = table[table["output_length"] > 0]
    assert len(workload) == len(answered) == 49_307
    assert workload.input_tokens.sum(dtype=np.int64) == answered["input_length"].sum()
    assert (workload.parent < 0).sum() == len(np.unique(workload.session)) == 710
    # Contexts share with others of their session too, so there is at least what the rows say of their own context.
    least = 64 * answered["prefix_len_prev"].sum()
    assert least <= workload.prefix_tokens.sum(dtype=np.int64) < 1.01 * least
    has_parent = workload.parent >= 0
    assert (workload.session[workload.parent[has_parent]] == workload.session[has_parent]).all()
