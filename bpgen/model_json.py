"""
The JSON text of an IntModel: its writing, its hash, and its reading with every value checked.

What is read fits docs/numbers.md: a text that says anything else is refused with the place and the
reason.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from bpgen.errors import BpgenError
from bpgen.lut import activation_top
from bpgen.model import (
    EXPONENTS,
    HIDDEN_ACTIVATIONS,
    INT16_MAX,
    INT32_MAX,
    LOSSES,
    OUTPUT_ACTIVATIONS,
    TABLE_ACTIVATIONS,
    UPDATES,
    Dense,
    Input,
    IntModel,
    IntTraining,
    LayerSparsity,
    LearningRate,
    Sparsity,
)
from bpgen.qformat import QFormat

VERSION = 1

# A list of integers over several lines; a text never contains a bare newline.
_INNER_LIST = re.compile(r"\[\n[-\d\s,]*\]")


def digest(model: IntModel) -> str:
    """First 8 hexadecimal digits of the SHA-256 of the canonical JSON: no spaces, keys sorted."""
    text = json.dumps(_to_dict(model), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write(model: IntModel) -> str:
    """The JSON text of a model, one row of weights a line."""
    text = json.dumps(_to_dict(model), indent=1, ensure_ascii=True)
    return _INNER_LIST.sub(lambda m: " ".join(m[0].split()), text) + "\n"


def read(text: str, name: str) -> IntModel:
    """The model of a JSON text; BpgenError as of `IntModel.from_json`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BpgenError(
            f"{name} is not valid JSON ({error}): it is cut short or damaged; "
            "make it again with 'bpgen quantize'."
        ) from None
    return _read_model(_Reader(data, name, name))


def _to_dict(model: IntModel) -> dict[str, Any]:
    training = model.training
    return {
        "format": "bpgen-model",
        "version": VERSION,
        "input": {
            "features": list(model.input.features),
            "a_format": str(model.input.a_format),
            "a_top": model.input.a_top,
            "decimals": list(model.input.decimals),
            "offset": list(model.input.offset),
            "multiplier": list(model.input.multiplier),
            "shift": list(model.input.shift),
        },
        "layers": [
            {
                "type": "dense",
                "activation": layer.activation,
                "w_format": str(layer.w_format),
                "z_format": str(layer.z_format),
                "a_format": str(layer.a_format),
                "a_top": layer.a_top,
                "dz_frac": layer.dz_frac,
                "dz_top": layer.dz_top,
                "frozen": layer.frozen,
                "sparsity": vars(layer.sparsity) if layer.sparsity else None,
                "w": [list(row) for row in layer.w],
                "b": list(layer.b),
            }
            for layer in model.layers
        ],
        "loss": model.loss,
        "targets": list(model.targets),
        "labels": list(model.labels),
        "training": None
        if training is None
        else {
            "update": training.update,
            "learning_rate": vars(training.learning_rate),
            "batch_size": training.batch_size,
            "momentum": training.momentum,
            "decay": training.decay,
            "seed": training.seed,
            "sparsity": vars(training.sparsity) if training.sparsity else None,
        },
    }


class _Reader:
    """Takes keys out of a JSON object, checking each; `finish` complains about the rest."""

    def __init__(self, data: Any, name: str, where: str) -> None:
        self.name, self.where = name, where
        if not isinstance(data, dict):
            raise self.error("", "must be an object")
        self.data = dict(data)

    def error(self, key: str, problem: str) -> BpgenError:
        place = f"{self.where}: {key}" if key else self.where
        return BpgenError(f"{place} {problem}; make the model again with 'bpgen quantize'.")

    def take(self, key: str) -> Any:
        if key not in self.data:
            raise self.error(repr(key), "is missing")
        return self.data.pop(key)

    def integer(self, key: str, lowest: int, highest: int) -> int:
        return self._checked(key, self.take(key), lowest, highest)

    def _checked(self, key: str, value: Any, lowest: int, highest: int) -> int:
        if type(value) is not int:
            raise self.error(key, f"must be an integer, not {value!r}")
        if not lowest <= value <= highest:
            raise self.error(key, f"is {value}, outside {lowest}..{highest}")
        return value

    def integers(self, key: str, length: int, lowest: int, highest: int) -> tuple[int, ...]:
        values = self.take(key)
        return self._integers(key, values, length, lowest, highest)

    def _integers(
        self, key: str, values: Any, length: int, lowest: int, highest: int
    ) -> tuple[int, ...]:
        if not isinstance(values, list) or len(values) != length:
            raise self.error(key, f"must be a list of {length} integers")
        return tuple(self._checked(f"{key}[{i}]", v, lowest, highest) for i, v in enumerate(values))

    def matrix(
        self, key: str, columns: int, lowest: int, highest: int
    ) -> tuple[tuple[int, ...], ...]:
        rows = self.take(key)
        if not isinstance(rows, list) or not rows:
            raise self.error(key, "must be a list of rows")
        return tuple(
            self._integers(f"{key}[{j}]", row, columns, lowest, highest)
            for j, row in enumerate(rows)
        )

    def text(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.take(key)
        if value not in choices:
            raise self.error(key, f"is {value!r}, not one of {', '.join(choices)}")
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.take(key)
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise self.error(key, "must be a list of texts")
        return tuple(values)

    def boolean(self, key: str) -> bool:
        value = self.take(key)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def number_format(
        self, key: str, choices: tuple[str, ...], lowest: int, highest: int
    ) -> QFormat:
        value = self.take(key)
        if not isinstance(value, str):
            raise self.error(key, "must be a format such as s16q12")
        parsed = QFormat.parse(value)
        spelling = f"{'s' if parsed.signed else 'u'}{parsed.bits}"
        if spelling not in choices or not lowest <= parsed.frac <= highest:
            raise self.error(
                key,
                f"is {value}, not {' or '.join(choices)} with a fraction of {lowest}..{highest}",
            )
        return parsed

    def nested(self, key: str) -> _Reader:
        return _Reader(self.take(key), self.name, f"{self.where}: {key}")

    def optional(self, key: str) -> _Reader | None:
        if self.data.get(key, ...) is None:
            del self.data[key]
            return None
        return self.nested(key)

    def finish(self) -> None:
        if self.data:
            raise self.error(repr(min(self.data)), "is a key this version does not know")


def _read_model(reader: _Reader) -> IntModel:
    if reader.take("format") != "bpgen-model":
        raise BpgenError(f"{reader.name} is not a bpgen model; make one with 'bpgen quantize'.")
    version = reader.take("version")
    if type(version) is not int or version != VERSION:
        raise BpgenError(
            f"{reader.name} has model version {version!r}, this bpgen reads version {VERSION}; "
            "make it again with 'bpgen quantize'."
        )
    training = reader.optional("training")
    input_ = _read_input(reader.nested("input"))
    listed = reader.take("layers")
    if not isinstance(listed, list) or not listed:
        raise reader.error("layers", "must be a list of at least one layer")
    layers: list[Dense] = []
    inputs = input_.size
    for k, data in enumerate(listed, start=1):
        layer = _read_dense(
            _Reader(data, reader.name, f"{reader.name}: layer {k}"),
            inputs,
            is_output=k == len(listed),
            is_byte=input_.a_format.bits == 8,
            learns=training is not None,
        )
        layers.append(layer)
        inputs = layer.outputs
    model = IntModel(
        input=input_,
        layers=tuple(layers),
        loss=reader.text("loss", LOSSES),
        targets=reader.texts("targets"),
        labels=reader.texts("labels"),
        training=_read_training(training) if training else None,
    )
    reader.finish()
    _check_whole(model, reader)
    return model


def _read_input(reader: _Reader) -> Input:
    features = reader.texts("features")
    n = len(features)
    if n == 0:
        raise reader.error("features", "must name at least one feature")
    a_format = reader.number_format("a_format", ("s16", "u8"), 0, 15)
    input_ = Input(
        features=features,
        a_format=a_format,
        a_top=reader.integer("a_top", 1, a_format.highest),
        decimals=reader.integers("decimals", n, 0, 9),
        offset=reader.integers("offset", n, -(2**31), INT32_MAX),
        multiplier=reader.integers("multiplier", n, 0, 65535),
        shift=reader.integers("shift", n, 0, 47),
    )
    reader.finish()
    return input_


def _read_dense(
    reader: _Reader, inputs: int, *, is_output: bool, is_byte: bool, learns: bool
) -> Dense:
    reader.text("type", ("dense",))
    activation = reader.text("activation", OUTPUT_ACTIVATIONS if is_output else HIDDEN_ACTIVATIONS)
    w_format = (
        reader.number_format("w_format", ("s8",), -8, 14)
        if is_byte
        else reader.number_format("w_format", ("s16",), 8, 14)
    )
    a_choices = ("u8",) if is_byte and not is_output else ("s16",)
    a_format = reader.number_format("a_format", a_choices, 0, 14 if is_output else 15)
    sparsity = reader.optional("sparsity")
    b_limit = INT32_MAX if is_byte else INT16_MAX
    w = reader.matrix("w", inputs, -127 if is_byte else w_format.lowest, w_format.highest)
    layer = Dense(
        activation=activation,
        w_format=w_format,
        z_format=reader.number_format("z_format", ("s16",), 0, 15),
        a_format=a_format,
        a_top=reader.integer("a_top", 1, min(a_format.highest, INT16_MAX)),
        dz_frac=_integer_if(reader, "dz_frac", learns, 0, 24),
        dz_top=_integer_if(reader, "dz_top", learns, 1, INT16_MAX),
        frozen=reader.boolean("frozen"),
        sparsity=_read_layer_sparsity(sparsity) if sparsity else None,
        w=w,
        b=reader.integers("b", len(w), -b_limit - 1, b_limit),
    )
    reader.finish()
    return layer


def _integer_if(reader: _Reader, key: str, present: bool, lowest: int, highest: int) -> int | None:
    if present:
        return reader.integer(key, lowest, highest)
    if reader.take(key) is not None:
        raise reader.error(key, "must be null in a model without training")
    return None


def _read_layer_sparsity(reader: _Reader) -> LayerSparsity:
    sparsity = LayerSparsity(
        offset=reader.integer("offset", 0, INT32_MAX),
        reciprocal=reader.integer("reciprocal", 1, INT32_MAX),
        multiplier=reader.integer("multiplier", 16384, 32767),
        shift=reader.integer("shift", 0, 47),
        initial_mean=reader.integer("initial_mean", -INT32_MAX, INT32_MAX),
    )
    reader.finish()
    return sparsity


def _read_training(reader: _Reader) -> IntTraining:
    rate, sparsity = reader.nested("learning_rate"), reader.optional("sparsity")
    learning_rate = LearningRate(
        rate.integer("mantissa", 16385, 32768),
        rate.integer("exponent", EXPONENTS[0], EXPONENTS[-1]),
    )
    if learning_rate.mantissa % 2 == 0 and learning_rate.mantissa != 32768:
        raise rate.error("mantissa", "must be 32768 or odd")
    rate.finish()
    training = IntTraining(
        update=reader.text("update", tuple(UPDATES)),
        learning_rate=learning_rate,
        batch_size=reader.integer("batch_size", 1, 2**31 - 1),
        momentum=reader.integer("momentum", 0, 65535),
        decay=reader.integer("decay", 0, INT16_MAX),
        seed=reader.integer("seed", 0, 65535),
        sparsity=Sparsity(sparsity.integer("target", 1, 32767), sparsity.integer("rate", 1, 65535))
        if sparsity
        else None,
    )
    if sparsity:
        sparsity.finish()
    reader.finish()
    return training


def _check_whole(model: IntModel, reader: _Reader) -> None:
    """What no single key can show: that formats fit each other (sections 1, 3, 7, 8, 11, 13)."""
    if model.labels and len(model.labels) != model.output.outputs:
        raise reader.error("labels", f"must name {model.output.outputs} classes")
    if (model.output.activation, model.loss) in (
        ("softmax", "squared_error"),
        ("linear", "cross_entropy"),
    ):
        raise reader.error("loss", f"cannot be {model.loss} for {model.output.activation} outputs")
    is_byte = model.input.a_format.bits == 8
    if is_byte and model.training:
        raise reader.error("training", "must be null in a model with s8 weights")
    _check_activation_format(reader, "input", model.input)
    for k, layer in enumerate(model.layers, start=1):
        _check_activation_format(reader, f"layer {k}", layer)
        _check_kind(reader, f"layer {k}", layer)
        sum_frac = layer.w_format.frac + model.previous(k).a_format.frac
        if not is_byte and sum_frac < layer.z_format.frac:
            raise reader.error(f"layer {k}", "has a z_format finer than its sum")
        if is_byte:
            _check_byte_layer(model, reader, k)
    for k in range(1, len(model.layers) + 1):
        if model.training:
            _check_delta(model, reader, k)
        _check_sparsity(model, reader, k)
        if model.training and model.learns(k):
            found = model.alignment(k, model.training.learning_rate.exponent)
            # With a negative fu, the 2^fu of the bias' update is no integer.
            if found is None or found[1] < 0:
                raise reader.error(f"layer {k}", "cannot use this learning rate")
    if model.training and not any(model.learns(k) for k in range(1, len(model.layers) + 1)):
        raise reader.error("layers", "are all frozen, so nothing can learn")


def _check_activation_format(reader: _Reader, place: str, a: Input | Dense) -> None:
    if a.a_format.bits == 8 and a.a_top != a.a_format.highest:
        raise reader.error(place, f"needs an a_top of {a.a_format.highest} in {a.a_format}")
    if a.a_format.bits == 16 and a.a_format.frac < 4:
        raise reader.error(place, "needs an a_format with a fraction of at least 4")


def _check_kind(reader: _Reader, place: str, layer: Dense) -> None:
    kind, z_frac, frac = layer.activation, layer.z_format.frac, layer.a_format.frac
    if kind in ("relu", "linear"):
        if z_frac != frac:
            raise reader.error(place, f"is {kind} and needs z_format and a_format to be alike")
        return
    if kind in TABLE_ACTIVATIONS and z_frac != 12:
        raise reader.error(place, f"is {kind} and needs the z_format s16q12")
    if kind == "softmax" and not 5 <= z_frac <= 14:
        raise reader.error(place, "is softmax and needs a z_format with a fraction of 5..14")
    if kind in ("tanh", "tanh_opt") and not 8 <= frac <= 14:
        raise reader.error(place, f"is {kind} and needs an a_format with a fraction of 8..14")
    top = activation_top(kind, frac)
    if layer.a_top != top:
        raise reader.error(place, f"is {kind} in {layer.a_format} and needs an a_top of {top}")


def _check_byte_layer(model: IntModel, reader: _Reader, k: int) -> None:
    layer, a_frac = model.layers[k - 1], model.previous(k).a_format.frac
    if k < len(model.layers) and layer.activation not in ("sigmoid", "relu"):
        raise reader.error(f"layer {k}", "must be sigmoid or relu in a model with s8 weights")
    if layer.activation == "sigmoid" and layer.a_format.bits == 8 and layer.a_format.frac != 8:
        raise reader.error(f"layer {k}", "is sigmoid and needs the a_format u8q8")
    shift = layer.w_format.frac + a_frac - layer.z_format.frac
    half = 1 << (shift - 1) if shift > 0 else 0
    if max(map(abs, layer.b)) + layer.inputs * 128 * 255 + half > INT32_MAX:
        raise reader.error(f"layer {k}", "has a bias too large for its sum")


def _check_delta(model: IntModel, reader: _Reader, k: int) -> None:
    layer = model.layers[k - 1]
    assert layer.dz_frac is not None
    if k < len(model.layers):
        above = model.layers[k]
        assert above.dz_frac is not None
        if layer.dz_frac > above.w_format.frac + above.dz_frac - 4:
            raise reader.error(f"layer {k}", "has a dz_frac finer than its sum")
        return
    extra = 16 if (layer.activation, model.loss) == ("sigmoid", "squared_error") else 0
    if layer.dz_frac > layer.a_format.frac + extra:
        raise reader.error(f"layer {k}", "has a dz_frac finer than its error")


def _check_sparsity(model: IntModel, reader: _Reader, k: int) -> None:
    layer = model.layers[k - 1]
    may = layer.activation in TABLE_ACTIVATIONS and k < len(model.layers)
    whole = model.training is not None and model.training.sparsity is not None
    if layer.sparsity and not may:
        raise reader.error(f"layer {k}", "cannot have sparsity, only a hidden sigmoid or tanh can")
    if layer.sparsity and not whole:
        raise reader.error(f"layer {k}", "has sparsity but training has none")
    if whole and may and model.has_dz(k) and not layer.sparsity:
        raise reader.error(f"layer {k}", "lacks the sparsity that training has")
