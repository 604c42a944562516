"""Profiles: every number has a unit and a source, sizes are the models' own, bad files get one clear line."""

import json
from pathlib import Path

import pytest
import yaml

from hardware_profiles import (
    ProfileError,
    gpu_names,
    load_calibration,
    load_gpu,
    load_model,
    model_names,
)
from hardware_profiles.library import ROOT, profile_names
from hardware_profiles.quantity import Quantity

CONFIG = json.loads((ROOT / "models" / "llama-3.1-8b.json").read_text())
GPU = yaml.safe_load((ROOT / "gpus" / "h100.yaml").read_text())
CALIBRATION = yaml.safe_load((ROOT / "calibration" / "h100-bf16.yaml").read_text())


def write(path: Path, fields: object) -> str:
    path.write_text(json.dumps(fields))  # JSON is YAML too, integer keys aside
    return str(path)


def test_the_shipped_profiles_are_found_in_any_letter_case() -> None:
    assert gpu_names() == ["h100", "h20", "h800"]
    assert model_names() == ["llama-3.1-70b", "llama-3.1-8b", "qwen2.5-7b"]
    assert load_gpu("H20") == load_gpu("h20")
    assert load_model("Qwen2.5-7B") == load_model("qwen2.5-7b")
    assert load_calibration("H800", "BF16") == load_calibration("h800", "bf16")


@pytest.mark.parametrize("gpu", gpu_names())
def test_a_gpu_and_its_calibration_name_each_other(gpu: str) -> None:
    assert load_gpu(gpu).name.casefold() == gpu
    assert load_calibration(gpu, "bf16").gpu == load_gpu(gpu).name
    assert f"{gpu}-bf16" in profile_names("calibration")


@pytest.mark.parametrize(
    "path", [*ROOT.glob("gpus/*.yaml"), *ROOT.glob("calibration/*.yaml")], ids=lambda path: path.stem
)
def test_every_value_has_a_unit_and_a_source(path: Path) -> None:
    def check(fields: dict[str, object]) -> int:
        if "value" in fields:
            quantity = Quantity.model_validate(fields)
            return int(bool(quantity.source.strip()) and bool(quantity.unit))
        nested = [value for value in fields.values() if isinstance(value, dict)]
        bare = [key for key, value in fields.items() if not isinstance(value, dict)]
        assert set(bare) <= {"name", "gpu", "dtype"}
        return sum(map(check, nested))

    assert check(yaml.safe_load(path.read_text())) >= 6


def test_what_nobody_measured_is_labelled_an_assumption() -> None:
    h20, h800 = load_calibration("h20", "bf16"), load_calibration("h800", "bf16")
    unmeasured = [
        *(calibration.gemm.compute_efficiency for calibration in (h20, h800)),
        *(calibration.all_reduce[8].bus_gb_per_s for calibration in (h20, h800)),
        *(calibration.decode_attention.launch_us for calibration in (h20, h800)),
        *(load_calibration(gpu, "bf16").step.overhead_us for gpu in gpu_names()),
    ]
    assert all(quantity.assumption and quantity.reason for quantity in unmeasured)
    assert not load_calibration("h100", "bf16").gemm.compute_efficiency.assumption


@pytest.mark.parametrize(
    ("name", "parameters", "kv_bytes_per_token"),
    [
        ("qwen2.5-7b", 7_615_616_512, 57_344),
        ("llama-3.1-8b", 8_030_261_248, 131_072),
        ("llama-3.1-70b", 70_553_706_496, 327_680),
    ],
)
def test_sizes_are_the_published_ones(name: str, parameters: int, kv_bytes_per_token: int) -> None:
    model = load_model(name)
    assert model.parameters == parameters
    assert model.shard(1).weight_bytes == 2 * parameters
    assert model.shard(1).kv_bytes_per_token == kv_bytes_per_token


def test_flops_of_llama_8b() -> None:
    model = load_model("llama-3.1-8b")
    matrices = model.parameters - 2 * 128256 * 4096 - (2 * 32 + 1) * 4096  # less embeddings and norms
    assert model.linear_flops_per_token == 2 * matrices
    assert model.attention_flops_per_pair == 4 * 4096 * 32


def test_tensor_parallelism_splits_weights_and_replicates_scarce_kv_heads() -> None:
    model = load_model("llama-3.1-70b")
    assert model.shard(8).weight_bytes == pytest.approx(model.shard(1).weight_bytes / 8, rel=2e-4)
    assert model.shard(8).kv_bytes_per_token * 8 == model.shard(1).kv_bytes_per_token
    assert model.shard(16).kv_bytes_per_token == model.shard(8).kv_bytes_per_token


@pytest.mark.parametrize(
    ("model", "tp", "message"),
    [
        ("qwen2.5-7b", 8, "qwen2.5-7b: tensor parallelism 8 does not divide num_attention_heads 28"),
        ("qwen2.5-7b", 7, "tensor parallelism 7 does not divide intermediate_size 18944"),
        ("llama-3.1-8b", 0, "tensor parallelism must be at least 1, found 0"),
    ],
)
def test_a_tp_that_does_not_divide_the_model_is_refused(model: str, tp: int, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        load_model(model).shard(tp)


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda: load_gpu("h10"), "unknown GPU 'h10'; did you mean 'h100'?"),
        (lambda: load_gpu("tpu-v5"), "unknown GPU 'tpu-v5' (known: h100, h20, h800; or give a file)"),
        (lambda: load_model("Llama-3.1-7B"), "did you mean 'llama-3.1-70b'?"),
        (lambda: load_calibration("h20", "fp8"), "unknown calibration 'h20-fp8'; did you mean 'h20-bf16'?"),
        (
            lambda: load_gpu("nowhere/h100.yaml"),
            "GPU 'nowhere/h100.yaml': no such file; give a file or one of: h100",
        ),
    ],
)
def test_an_unknown_name_lists_the_known_ones(load: object, message: str) -> None:
    with pytest.raises(ProfileError) as error:
        load()  # type: ignore[operator]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_path_works_as_a_profile(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    model = load_model(write(folder / "config.json", CONFIG | {"head_dim": None, "rope_theta": 5e5}))
    assert (model.name, model.head_dim) == ("my-model", 128)
    assert load_gpu(write(tmp_path / "mine.json", GPU)) == load_gpu("h100")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(CALIBRATION))
    assert load_calibration(str(path), "bf16") == load_calibration("h100", "bf16")
    with pytest.raises(ProfileError, match=r"mine.yaml: dtype: expected 'fp8', found 'bf16'"):
        load_calibration(str(path), "fp8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "hidden_size: Input should be a valid integer"),
        ({"hidden_size": 4097}, "head_dim is absent and 32 heads do not divide hidden_size 4097"),
        ({"num_key_value_heads": 5}, "num_key_value_heads 5 must divide num_attention_heads 32"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: Input should be greater than 0"),
        ({"vocab_size": "128256"}, "vocab_size: Input should be a valid integer"),
        ({"model_type": "mixtral"}, "model_type: Input should be 'llama', 'qwen2' or 'qwen3'"),
        ({"torch_dtype": "float32"}, "torch_dtype: Input should be 'bfloat16' or 'float16'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is set, which is not modelled"),
        ({"use_sliding_window": True}, "use_sliding_window is set, which is not modelled"),
    ],
)
def test_a_bad_config_is_refused_in_one_line(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ProfileError) as error:
        load_model(write(tmp_path / "config.json", CONFIG | change))
    assert message in str(error.value)
    assert str(tmp_path / "config.json") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory_gb": 80}, "memory_gb: "),
        (
            {"memory_gb": {"value": 80, "unit": "GiB", "source": "x"}},
            "memory_gb: expected unit 'GB', found 'GiB'",
        ),
        ({"memory_gb": {"value": 0, "unit": "GB", "source": "x"}}, "memory_gb: must be greater than 0"),
        ({"memory_gb": {"value": 80, "unit": "GB"}}, "memory_gb.source: Field required"),
        ({"memory_gb": {"value": 80, "unit": "GB", "source": ""}}, "memory_gb.source: String should have"),
        (
            {"memory_gb": {"value": "80", "unit": "GB", "source": "x"}},
            "memory_gb.value: Input should be a valid",
        ),
        (
            {"memory_gb": {"value": 80, "unit": "GB", "source": "x", "assumption": True}},
            "memory_gb: give `reason` exactly where `assumption: true`",
        ),
        ({"memory_gbs": 80}, "unknown field 'memory_gbs'; did you mean 'memory_gb'?"),
    ],
)
def test_a_bad_gpu_is_refused_in_one_line(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ProfileError) as error:
        load_gpu(write(tmp_path / "gpu.json", GPU | change))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_efficiency_above_one_is_refused(tmp_path: Path) -> None:
    efficiency = CALIBRATION["gemm"]["compute_efficiency"] | {"value": 77.1}
    path = tmp_path / "calibration.yaml"
    path.write_text(yaml.safe_dump(CALIBRATION | {"gemm": CALIBRATION["gemm"] | {"compute_efficiency": efficiency}}))
    with pytest.raises(ProfileError, match=r"gemm.compute_efficiency: a fraction is at most 1, found 77.1"):
        load_calibration(str(path), "bf16")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "cannot be read"),
        ("- 1", "expected fields with values, found list"),
        ("", "found NoneType"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gpu.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=message) as error:
        load_gpu(str(path))
    assert "\n" not in str(error.value)
