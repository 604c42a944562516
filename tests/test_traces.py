"""Trace loaders on hand-made files: what they read, and how they complain."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads import TraceError, Workload, formats, generate, load
from workloads.workload import COLUMNS

GOOD_MOONCAKE = {"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def complaint(path: Path, format: str, /, **options: Any) -> str:
    with pytest.raises(TraceError) as caught:
        load(path, format, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "WorkloadError" not in message
    return message.removeprefix(str(path))


def test_mooncake(tmp_path):
    rows = [
        GOOD_MOONCAKE,
        {"timestamp": 1500, "input_length": 1200, "output_length": 7, "hash_ids": [1, 3, 4]},
        {"timestamp": 1000, "input_length": 700, "output_length": 6, "hash_ids": [1, 3]},
    ]
    workload = load(write_jsonl(tmp_path / "t.jsonl", rows), "mooncake")
    assert workload.arrival_s.tolist() == [0.0, 1.0, 1.5]  # the file is not sorted
    assert workload.input_tokens.tolist() == [600, 700, 1200]
    assert workload.output_tokens.tolist() == [5, 6, 7]
    assert workload.prefix_request.tolist() == [-1, 0, 1]
    assert workload.prefix_tokens.tolist() == [0, 512, 700]


def test_gzip_and_plain_are_the_same(tmp_path):
    plain = write_jsonl(tmp_path / "t.jsonl", [GOOD_MOONCAKE, GOOD_MOONCAKE])
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert load(str(plain), "mooncake") == load(tmp_path / "t.jsonl.gz", "mooncake")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_length": 0, "hash_ids": []}, "input_length: 0 is below 1"),
        ({"output_length": 0}, "output_length: 0 is below 1"),
        ({"output_length": -3}, "output_length: -3 is below 1"),
        ({"output_length": 2.5}, "output_length: 2.5 is not an integer"),
        ({"output_length": "7"}, "output_length: '7' is not an integer"),
        ({"output_length": True}, "output_length: True is not an integer"),
        ({"output_length": None}, "output_length: None is not an integer"),
        ({"output_length": 2**31}, "output_length: 2147483648 does not fit int32"),
        ({"output_length": 2**63}, "output_length: 9223372036854775808 is not an integer"),
        ({"timestamp": -1}, "timestamp: -0.001 is not a finite time from 0 on"),
        ({"timestamp": "now"}, "timestamp: 'now' is not a finite number"),
        ({"timestamp": None}, "timestamp: None is not a finite number"),
        ({"timestamp": float("inf")}, "timestamp: inf is not a finite number"),
        ({"timestamp": float("nan")}, "timestamp: nan is not a finite number"),
        ({"hash_ids": [1]}, "hash_ids: 1 ids for 600 tokens in blocks of 512; expected 2"),
        ({"hash_ids": [1, 2, 3]}, "hash_ids: 3 ids for 600 tokens in blocks of 512; expected 2"),
        ({"hash_ids": [1, 2.5]}, "hash_ids: is not a list of integers or strings"),
        ({"hash_ids": 12}, "hash_ids: is not a list of integers or strings"),
        ({"hash_ids": None}, "hash_ids: is not a list of integers or strings"),
        ({"delay": 3}, "delay: not a field of line 1"),
    ],
)
def test_bad_mooncake_rows(tmp_path, change: dict[str, Any], message: str):
    path = write_jsonl(tmp_path / "t.jsonl", [GOOD_MOONCAKE, GOOD_MOONCAKE | change, GOOD_MOONCAKE])
    # A negative timestamp sorts to the front, and is still reported at its line.
    assert complaint(path, "mooncake").startswith(f":2: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"timestamp": 0', ":1: malformed JSON (Expecting ',' delimiter"),
        ("[1, 2]\n", ":1: [1, 2] is not a JSON object"),
        ("\n", ":1: empty line"),
        ('{"timestamp": 0}\n', ":1: input_length: missing field"),
        (json.dumps(GOOD_MOONCAKE).replace("output_length", "outputlength"), "did you mean 'outputlength'?"),
        (json.dumps(GOOD_MOONCAKE | {"delay": 1}), ":1: delay: unknown field"),
        (json.dumps(GOOD_MOONCAKE) + '\n{"timestamp": 0}\n', ":2: hash_ids: missing field"),
        ("", ": the file is empty"),
    ],
)
def test_bad_mooncake_files(tmp_path, text: str, message: str):
    (tmp_path / "t.jsonl").write_text(text)
    assert message in complaint(tmp_path / "t.jsonl", "mooncake")


def test_files_that_cannot_be_read(tmp_path):
    assert complaint(tmp_path / "none.jsonl", "mooncake") == ": no such file"
    for format in ("csv", "mooncake"):
        assert complaint(tmp_path, format) == ": is a directory; give a file"
    damaged = tmp_path / "t.jsonl.gz"
    good = gzip.compress(json.dumps(GOOD_MOONCAKE).encode())
    for raw in (good[:-12], b"not gzip", good[:12] + b"\xff" * 20):
        damaged.write_bytes(raw)
        assert complaint(damaged, "mooncake").startswith(": damaged gzip file")
    misnamed = tmp_path / "t.jsonl"
    misnamed.write_bytes(good)
    assert ":1: not UTF-8 text; a gzip file's name must end in .gz" in complaint(misnamed, "mooncake")


AZURE_HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def test_azure(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        AZURE_HEADER
        + "2023-11-16 23:59:59.5000000,10,1\n"
        + "2023-11-17 00:00:01.0000001,30,3\n"
        + "2023-11-17 00:00:00.5000000,20,2\n"
    )
    workload = load(path, "azure")
    assert workload.arrival_s.tolist() == [0.0, 1.0, 1.5000001]
    assert workload.input_tokens.tolist() == [10, 20, 30]
    assert (workload.prefix_request == -1).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("yesterday,1,1", ":2: TIMESTAMP: 'yesterday' is not a time such as 2023-11-16 18:17:03.9799600"),
        (
            "\u0662\u0660\u0662\u0663-11-16 00:00:00.0,1,1",
            ":2: TIMESTAMP: '\u0662\u0660\u0662\u0663-11-16 00:00:00.0' is not a time",
        ),
        ("2023-13-16 00:00:00.0,1,1", ":2: TIMESTAMP: '2023-13-16 00:00:00.0' is not a time"),
        ("2023-11-16 00:00:00.0,0,1", ":2: ContextTokens: 0 is below 1"),
        ("2023-11-16 00:00:00.0,1,1.5", ":2: GeneratedTokens: '1.5' is not an integer"),
        ("2023-11-16 00:00:00.0,1,", ":2: GeneratedTokens: '' is not an integer"),
        ("2023-11-16 00:00:00.0,1", ":2: 2 cells, but the header has 3"),
        ('2023-11-16 00:00:00.0,1,"1', ":2: malformed CSV"),
        ("", ":2: 0 cells, but the header has 3"),
    ],
)
def test_bad_azure_rows(tmp_path, line: str, message: str):
    (tmp_path / "t.csv").write_text(AZURE_HEADER + line + "\n")
    assert complaint(tmp_path / "t.csv", "azure").startswith(message)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("TIMESTAMP,ContextTokens", ":1: GeneratedTokens: missing field"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens,Model", ":1: Model: unknown field"),
        ("TIMESTAMP,ContextTokens,ContextTokens", ":1: ContextTokens: two columns have this name"),
    ],
)
def test_bad_azure_headers(tmp_path, header: str, message: str):
    (tmp_path / "t.csv").write_text(header + "\n" + ",".join("1" for _ in header.split(",")) + "\n")
    assert complaint(tmp_path / "t.csv", "azure").startswith(message)
    (tmp_path / "t.csv").write_text(AZURE_HEADER)
    assert complaint(tmp_path / "t.csv", "azure") == ": has a header and no rows"


def test_generic_csv_with_other_names_and_unit(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "when,prompt,answer,kind,model,blocks\n"
        "2500,5,1,code,a,x y\n"
        "1500,9,2,chat,b,x z w\n"
        "2500,4,3,chat,c,x\n"
    )  # fmt: skip
    names = {"arrival_s": "when", "input_tokens": "prompt", "output_tokens": "answer", "category": "kind"}
    workload = load(
        path,
        "csv",
        columns=names | {"hash_ids": "blocks"},
        time_unit="ms",
        hash_block_tokens=4,
        ignore=["model"],
    )
    assert workload.arrival_s.tolist() == [1.5, 2.5, 2.5]
    assert workload.output_tokens.tolist() == [2, 1, 3]
    assert [workload.category_names[code] for code in workload.category] == ["chat", "code", "chat"]
    assert workload.prefix_request.tolist() == [-1, 0, 0]
    assert workload.prefix_tokens.tolist() == [0, 4, 4]


def test_generic_jsonl_with_follow_ups_keeps_the_order_that_parents_refer_to(tmp_path):
    root = {"arrival_s": 2.0, "input_tokens": 3, "output_tokens": 1, "parent": -1, "think_s": 0, "session": 7}
    follow_up = root | {"arrival_s": None, "parent": 0, "think_s": 1.5}
    path = write_jsonl(tmp_path / "t.jsonl", [root, follow_up, root | {"arrival_s": 1.0}])
    workload = load(path, "jsonl")
    assert np.array_equal(workload.arrival_s, [2.0, np.nan, 1.0], equal_nan=True)
    assert workload.parent.tolist() == [-1, 0, -1]
    assert workload.think_s.tolist() == [0.0, 1.5, 0.0]


def test_generic_csv_reads_every_column_of_a_workload(tmp_path):
    chat = generate("chatbot", 0, {"requests": 50})
    names = [name for name in COLUMNS if name != "category"]
    columns = [["" if value != value else repr(value) for value in getattr(chat, name).tolist()] for name in names]
    text = "\n".join(",".join(cells) for cells in [names, *zip(*columns, strict=True)])
    (tmp_path / "t.csv").write_text(text)
    back = load(tmp_path / "t.csv", "csv")
    assert all(np.array_equal(getattr(back, n), getattr(chat, n), equal_nan=True) for n in names)


def test_hash_ids_may_leave_out_the_partial_block_and_be_any_integer_or_string(tmp_path):
    row = {"arrival_s": 0, "input_tokens": 9, "output_tokens": 1}
    ids: list[list[int | str]] = [["a", -1], ["a", -1, 2**64 - 1], ["a", -1, 2**64 - 1]]
    path = write_jsonl(tmp_path / "t.jsonl", [row | {"hash_ids": i} for i in ids])
    workload = load(path, "jsonl", hash_block_tokens=4)
    assert workload.prefix_request.tolist() == [-1, 0, 1]
    assert workload.prefix_tokens.tolist() == [0, 8, 9]
    assert ":1: hash_ids: 2 ids for 9 tokens" in complaint(path, "jsonl", hash_block_tokens=3)


GOOD_CSV = "arrival_s,input_tokens,output_tokens\n0,1,1\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (GOOD_CSV, {"colums": {}}, "unknown option 'colums' of trace format 'csv'; did you mean 'columns'?"),
        (GOOD_CSV, {"columns": {"arival_s": "t"}}, "unknown column 'arival_s'; did you mean 'arrival_s'?"),
        (
            GOOD_CSV,
            {"columns": {"arrival_s": "arrival"}},
            ":1: arrival: missing field; did you mean 'arrival_s'?; else tell the file's name for it with the option",
        ),
        (GOOD_CSV, {"columns": {"client": "user"}}, ":1: user: missing field"),
        (GOOD_CSV, {"time_unit": "min"}, "time_unit: unknown unit 'min'"),
        (GOOD_CSV, {"ignore": ["model"]}, ":1: model: to be ignored, but missing"),
        (GOOD_CSV, {"ignore": ["input_tokens"]}, ":1: input_tokens: missing field"),
        (GOOD_CSV, {"hash_block_tokens": 16}, "hash_block_tokens is given, but the file has no hash_ids"),
        (GOOD_CSV.replace(",1\n", ",\n"), {}, ":2: output_tokens: '' is not an integer"),
        (GOOD_CSV.replace("\n0", "\n"), {}, ":2: arrival_s: nan is no time"),
        (GOOD_CSV.replace("\n0", "\n-1"), {}, ":2: arrival_s: -1.0 is not a finite time"),
        (
            "arrival_s,input_tokens,output_tokens,priorty\n0,1,1,0\n",
            {},
            ":1: priorty: unknown field; did you mean 'pri",
        ),
        (
            "arrival_s,input_tokens,output_tokens,hash_ids\n0,1,1,5\n",
            {},
            "needs the option hash_block_tokens",
        ),
        ("arrival_s,input_tokens,output_tokens,parent\n0,1,1,0\n", {}, ":2: parent: 0 is no earlier row"),
    ],
)
def test_bad_generic_files_and_options(tmp_path, text: str, options: dict[str, Any], message: str):
    (tmp_path / "t.csv").write_text(text)
    assert message in complaint(tmp_path / "t.csv", "csv", **options)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        *(("columns", value, "a mapping of strings to strings") for value in (5, [1, 2], "foo")),
        *(("columns", {"arrival_s": field}, "a mapping of strings to strings") for field in (5, [1], None)),
        ("columns", {5: "arrival_s"}, "a mapping of strings to strings"),
        *(("time_unit", value, "a string") for value in (["s"], 5, None)),
        *(("ignore", value, "a list of strings") for value in (5, [5], None, "output_tokens", {"model": 1})),
        *(("hash_block_tokens", value, "an integer") for value in ("abc", "16", 1.5, True, [16])),
    ],
)
@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_options_of_a_wrong_type(tmp_path, format: str, option: str, value: Any, expected: str):
    message = complaint(tmp_path / "t", format, **{option: value})
    assert message == f"option '{option}' of trace format '{format}': expected {expected}, got {value!r}"


@pytest.mark.parametrize("option", ["path", "format", "self"])
def test_options_may_have_the_names_of_parameters(tmp_path, option: str):
    assert f"unknown option '{option}' of trace format 'csv'" in complaint(tmp_path / "t", "csv", **{option: 1})


@pytest.mark.parametrize("value", [0, -1, 2**31, 10**40])
def test_hash_block_tokens_out_of_range(tmp_path, value: int):
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens,hash_ids\n0,1,1,5\n")
    message = complaint(tmp_path / "t.csv", "csv", hash_block_tokens=value)
    assert message.startswith("hash_block_tokens: must be from 1 to 2147483647, got ")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"arrival_s": "input_tokens"}, "columns: arrival_s and input_tokens are both read from the field 'input_tok"),
        ({"client": "user", "session": "user"}, "columns: client and session are both read from the field 'user'"),
    ],
)
def test_two_columns_from_one_field(tmp_path, columns: dict[str, str], message: str):
    (tmp_path / "t.csv").write_text(GOOD_CSV)
    assert complaint(tmp_path / "t.csv", "csv", columns=columns).startswith(message)


@pytest.mark.parametrize(
    ("columns", "client", "session"),
    [({}, 3, 4), ({"session": "client", "client": "session"}, 4, 3), ({"session": "client"}, -1, 3)],
)
def test_columns_may_take_the_field_of_another_name(tmp_path, columns: dict[str, str], client: int, session: int):
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,client,session\n0,1,1,3,4\n")
    ignore = ["session"] if len(columns) == 1 else []
    workload = load(path, "csv", columns=columns, ignore=ignore)
    assert (workload.client[0], workload.session[0]) == (client, session)


@pytest.mark.parametrize(("mark", "shown"), [(";", "';'"), ("\t", r"'\t'"), ("|", "'|'")])
def test_another_delimiter_is_named(tmp_path, mark: str, shown: str):
    (tmp_path / "t.csv").write_text(GOOD_CSV.replace(",", mark))
    expected = f":1: the cells are separated by {shown}, not ','; save the file with commas"
    assert complaint(tmp_path / "t.csv", "csv") == expected


@pytest.mark.parametrize("cell", ["1_0", " 5", "5 ", "\u0665", "", "+", "0x1", "5.", "1e1", "5\n"])
def test_csv_cells_that_are_no_integers(tmp_path, cell: str):
    (tmp_path / "t.csv").write_text(f'arrival_s,input_tokens,output_tokens\n0,1,"{cell}"\n')
    message = f"output_tokens: {cell!r} is not an integer; correct or delete the line"
    assert complaint(tmp_path / "t.csv", "csv").endswith(message)


@pytest.mark.parametrize(
    "cell", ["1_0", " 5", "5 ", "\u0665", "nan", "inf", "-Infinity", "1e999", ".", "1e", "0x1p3", "1,5"]
)
def test_csv_cells_that_are_no_numbers(tmp_path, cell: str):
    (tmp_path / "t.csv").write_text(f'arrival_s,input_tokens,output_tokens\n"{cell}",1,1\n')
    message = f":2: arrival_s: {cell!r} is not a finite number; correct or delete the line"
    assert complaint(tmp_path / "t.csv", "csv") == message


@pytest.mark.parametrize(
    ("cell", "number"), [("+5", 5), ("007", 7), (".5", 0.5), ("5.", 5), ("1.5e+1", 15), ("2E-1", 0.2)]
)
def test_csv_cells_that_are_numbers(tmp_path, cell: str, number: float):
    (tmp_path / "t.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{cell},+1,01\n")
    assert load(tmp_path / "t.csv", "csv").arrival_s.tolist() == [number]


def test_parquet_is_a_format(tmp_path):
    chat = generate("chatbot", 0, {"requests": 20})
    chat.to_parquet(tmp_path / "w.parquet")
    assert load(tmp_path / "w.parquet", "parquet") == chat
    assert "unknown option 'ignore' of trace format 'parquet'; it has none" in complaint(
        tmp_path / "w.parquet", "parquet", ignore=[]
    )


def test_formats_have_descriptions_and_unknown_ones_are_errors(tmp_path):
    assert set(formats()) >= {"azure", "csv", "jsonl", "mooncake", "parquet"}
    assert all(formats().values())
    assert "unknown trace format 'mooncak'; did you mean 'mooncake'?" in complaint(tmp_path / "t", "mooncak")


def test_rows_at_one_time_keep_their_order(tmp_path):
    rows = [{"arrival_s": t, "input_tokens": n, "output_tokens": 1} for n, t in enumerate([1, 0, 1, 0], start=1)]
    workload: Workload = load(write_jsonl(tmp_path / "t.jsonl", rows), "jsonl")
    assert workload.input_tokens.tolist() == [2, 4, 1, 3]
