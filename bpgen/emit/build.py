"""IntModel to View: every number and name that the templates print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bpgen import __version__, lut
from bpgen.emit import cfmt
from bpgen.emit.avr import AVR_WIDE_OUTPUTS, is_large, is_large_first, kernel_of
from bpgen.emit.state import even, members
from bpgen.emit.view import (
    FeatureView,
    HiddenDelta,
    InitialView,
    InputView,
    LayerView,
    ResetFill,
    RomArray,
    SelfTest,
    SelfTestView,
    SparsityView,
    SumView,
    TrainingView,
    View,
)
from bpgen.model import (
    INT16_MAX,
    TABLE_ACTIVATIONS,
    UPDATES,
    Dense,
    Input,
    IntModel,
    magnitude_bits,
)
from bpgen.proof import WEIGHT_LIMIT, LayerProof, Sum, derivative_fraction, prove

CORE_ABI = 6
NEVER_NEGATIVE = ("sigmoid", "relu")


def build_view(model: IntModel, prefix: str, self_test: SelfTest, *, small: bool = False) -> View:
    """
    Everything the templates need to print `model` with names that start with `prefix`.

    `small` code makes no use of kernels that do in one pass what others do in two, and of sums
    with 40 bits; a model that needs more keeps the other kernels.

    Raises BpgenError for a prefix that is no free C identifier, and where a bound cannot be proven.
    """
    cfmt.check_identifier(prefix)
    proofs = prove(model)
    layers = tuple(_layers(model, prefix, proofs))
    sums = [total for proof in proofs for total in (proof.forward, proof.backward) if total]
    small = small and all(total.bound < 1 << 39 for total in sums)
    state = tuple(members(model, layers))
    squared = model.loss == "squared_error"
    output = layers[-1]
    return View(
        version=__version__,
        hash=model.hash,
        prefix=prefix,
        upper=prefix.upper(),
        guard=f"{prefix.upper()}_H",
        core_abi=CORE_ABI,
        shape="-".join(str(n) for n in model.sizes),
        learns_text=" with on-device backpropagation" if model.training else "",
        inputs=model.input.size,
        outputs=output.outputs,
        parameter_count=model.parameter_count,
        one=1 << output.a_frac,
        line_length=12 * (model.input.size + output.outputs) + 2,
        loss_frac=2 * output.a_frac + 1 if squared else output.a_frac + 16,
        loss_text="half the squared error" if squared else "cross-entropy",
        squared_error=squared,
        labels=tuple(cfmt.string(label) for label in model.labels),
        features=tuple(
            FeatureView(i, cfmt.comment(name), cfmt.markdown(name), _unit(decimals))
            for i, (name, decimals) in enumerate(
                zip(model.input.features, model.input.decimals, strict=True)
            )
        ),
        input=_input(model.input),
        layers=layers,
        output=output,
        narrow_outputs=max((x.outputs for x in layers if x.narrows), default=0),
        training=_training(model, prefix, layers, small),
        state=state,
        state_size=sum(member.size for member in state),
        rom=tuple(_rom(model, layers, prefix, self_test)),
        initial=_initial(model, prefix),
        fills=tuple(_fills(model, layers)),
        self_test=SelfTestView(
            samples=len(self_test.a0),
            read_a0=(
                f"bp_rom_u8({prefix}_test_a0 + sample * {model.input.size} + i)"
                if model.input.a_format.bits == 8
                else f"bp_rom_s16({prefix}_test_a0 + sample * {model.input.size} + i)"
            ),
            crc32=self_test.crc32,
        ),
        small=small,
        avr_refusals=tuple(_avr_refusals(layers)),
    )


def _avr_refusals(layers: tuple[LayerView, ...]) -> Iterator[str]:
    """Why the kernels of AVR cores do not hold this model's sums."""
    for layer in layers:
        if layer.backward and not layer.backward.plain and layer.outputs > AVR_WIDE_OUTPUTS:
            yield (
                f"the deltas below layer {layer.k} are sums over its {layer.outputs} outputs, and "
                f"those of AVR boards hold {AVR_WIDE_OUTPUTS}"
            )


def _unit(decimals: int) -> str:
    return "1" if decimals == 0 else f"0.{'0' * (decimals - 1)}1"


def _input(a0: Input) -> InputView:
    is_byte = a0.a_format.bits == 8
    return InputView(
        a_format=str(a0.a_format),
        a_frac=a0.a_format.frac,
        a_top=a0.a_top,
        a_cast="(uint8_t)" if is_byte else "",
        lowest=0 if is_byte else -a0.a_top,
    )


def _layers(model: IntModel, prefix: str, proofs: Sequence[LayerProof]) -> Iterator[LayerView]:
    index = 0
    for k, (layer, proof) in enumerate(zip(model.layers, proofs, strict=True), start=1):
        yield _layer(model, prefix, k, layer, proof, index)
        index += layer.count


def _layer(
    model: IntModel, prefix: str, k: int, layer: Dense, proof: LayerProof, index: int
) -> LayerView:
    previous = model.previous(k)
    learns, has_dz, is_output = model.learns(k), model.has_dz(k), k == len(model.layers)
    is_byte = layer.w_format.bits == 8
    updated_frac = layer.w_format.frac + (
        UPDATES[model.training.update][0] if model.training else 0
    )
    master = model.training.update if learns and model.training else ""
    has_low = master in ("residual", "momentum")
    has_velocity = master in ("batch", "momentum")
    w, b = (f"s->w{k}", f"s->b{k}") if learns else (f"{prefix}_w{k}_rom", f"{prefix}_b{k}_rom")
    squashes = layer.activation in TABLE_ACTIVATIONS
    before_table = squashes or layer.activation == "softmax"
    z_top = INT16_MAX if before_table else layer.a_top
    stored = even(layer.inputs) * layer.outputs
    aligned = None
    if learns and model.training:
        aligned = model.alignment(k, model.training.learning_rate.exponent)
    update_shift, update_frac = aligned or (0, 0)
    rom = "" if learns else "_rom"
    avr = kernel_of(layer, proof.forward, previous.a_format.frac, rom)
    backward = proof.backward
    return LayerView(
        k=k,
        k_in=k - 1,
        constants=f"{prefix}_layer{k}",
        inputs=layer.inputs,
        outputs=layer.outputs,
        outputs_even=even(layer.outputs),
        weights=layer.inputs * layer.outputs,
        stored=stored,
        weight_index=f"(i / 2 * {layer.outputs} + j) * 2 + i % 2",
        index=index,
        block=even(layer.inputs) if proof.forward.plain else proof.forward.block,
        delta_block=backward.block if backward else 0,
        activation=layer.activation,
        is_byte=is_byte,
        narrows=layer.a_format.bits == 8,
        is_table=squashes,
        is_fused=avr.fused,
        is_softmax=layer.activation == "softmax",
        w=w,
        b=b,
        w_type="s8" if is_byte else "s16",
        rom=rom,
        a=f"a{k}",
        a_in=f"a{k - 1}",
        a_in_frac=previous.a_format.frac,
        a_in_signed=int(isinstance(previous, Input) or previous.activation not in NEVER_NEGATIVE),
        a_format=str(layer.a_format),
        a_frac=layer.a_format.frac,
        a_top=layer.a_top,
        a_cast="(uint8_t)" if layer.a_format.bits == 8 else "",
        z_format=str(layer.z_format),
        z_frac=layer.z_format.frac,
        z_lowest=0 if layer.activation == "relu" else -z_top,
        z_top=z_top,
        z_shift=proof.forward.shift,
        dz_in_top=(model.layers[k - 2].dz_top or 0) if backward else 0,
        sum_shift=backward.shift if backward else 0,
        table=_table_name(prefix, layer),
        table_or_null=_table_name(prefix, layer) if squashes else "NULL",
        pairs=even(layer.inputs) // 2,
        avr_sums=avr.sums,
        avr_at_once=avr.at_once,
        avr_kernel=avr.name,
        avr_count=avr.count,
        avr_a_scale=avr.a_scale,
        learn_kind=_learn_kind(backward, layer, previous.a_format.frac),
        table_bits=_table(layer).bits if _table_name(prefix, layer) else 0,
        forward=_sum(proof.forward),
        dz=f"dz{k}" if has_dz else "",
        dz_format=f"s16q{layer.dz_frac}" if has_dz else "",
        dz_top=layer.dz_top or 0,
        derivative=_derivative(model, layer, k) if has_dz else "",
        delta_rounded=_rounded("error", _delta_shift(model, layer)) if has_dz and is_output else "",
        delta_call=_delta_call(layer, k) if has_dz and not is_output else "",
        output_delta_call=_output_delta_call(model, layer, k) if has_dz and is_output else "",
        learn_output_call=_learn_output_call(model, layer, k) if has_dz and is_output else "",
        sum_frac=(layer.dz_frac or 0) + 4,
        backward=_sum(backward) if backward else None,
        p=f"p{k}" if layer.sparsity and has_dz else "",
        sparsity=_sparsity(model, layer) if layer.sparsity and has_dz else None,
        vw=f"s->vw{k}" if has_velocity else "",
        vb=f"s->vb{k}" if has_velocity else "",
        has_low=has_low,
        w_low=f"{w}_low" if has_low else "NULL",
        b_low=f"{b}_low" if has_low else "NULL",
        offset=(layer.dz_frac or 0) - updated_frac,
        lowest_frac=8 - magnitude_bits(previous),
        update_shift=update_shift,
        update_frac=update_frac,
    )


def _rounded(name: str, shift: int) -> str:
    return f"bp_round32({name}, {shift})" if shift else name


def _sum(proof: Sum) -> SumView:
    return SumView(
        plain=proof.plain,
        bound=proof.bound if proof.plain else proof.block * WEIGHT_LIMIT * proof.top,
        block=proof.block,
        acc_frac=proof.frac,
    )


def _table(layer: Dense) -> lut.Table:
    if layer.activation == "softmax":
        return lut.exponential_table(layer.z_format.frac, layer.a_format.frac)
    return lut.activation_table(layer.activation, layer.a_format.frac)


def _table_name(prefix: str, layer: Dense) -> str:
    if layer.activation not in ("sigmoid", "tanh", "tanh_opt", "softmax"):
        return ""
    table = _table(layer)
    return f"{prefix}_{table.name}{1 << table.bits}"


def _derivative(model: IntModel, layer: Dense, k: int) -> str:
    """The derivative of unit j from its output; empty where it is 1 or not part of dz."""
    if k == len(model.layers) and model.loss == "cross_entropy":
        return ""
    a, frac = f"s->a{k}[j]", layer.a_format.frac
    return {
        "sigmoid": f"bp_sigmoid_derivative({a}, {frac})",
        "tanh": f"bp_tanh_derivative({a}, {frac})",
        "tanh_opt": f"bp_tanh_opt_derivative({a}, {layer.a_top}, {frac})",
        "relu": "",  # decides instead of multiplying
        "linear": "",
    }[layer.activation]


def _delta_shift(model: IntModel, layer: Dense) -> int:
    extra = derivative_fraction(layer.activation) if model.loss == "squared_error" else 0
    return layer.a_format.frac + extra - (layer.dz_frac or 0)


def _delta_call(layer: Dense, k: int) -> str:
    """Deltas of hidden layer k from its back-propagated sums."""
    frac, n = layer.a_format.frac, layer.outputs
    last = f"{layer.dz_top}, counters, {n});"
    return {
        "sigmoid": f"bp_delta_sigmoid(s->dz{k}, sum, s->a{k}, {frac}, {last}",
        "tanh": f"bp_delta_tanh(s->dz{k}, sum, s->a{k}, {frac}, {last}",
        "tanh_opt": f"bp_delta_tanh_opt(s->dz{k}, sum, s->a{k}, {layer.a_top}, {frac}, {last}",
        "relu": f"bp_delta_relu(s->dz{k}, sum, s->a{k}, {last}",
        "linear": f"bp_delta_linear(s->dz{k}, sum, {last}",
    }[layer.activation]


def _learn_kind(backward: Sum | None, layer: Dense, a_in_frac: int) -> str:
    """
    The end of a kernel's name in bpgen_kernels.h: that for the step of a layer in a chain, and for
    its inputs' deltas unless it is the first; "" where no kernel has the layer's formats.
    """
    inputs = layer.inputs
    if backward is None:
        return "_first_large" if is_large_first(inputs, layer.outputs) else "_first"
    if not 9 <= a_in_frac <= 15:
        return ""
    if not 1 <= backward.shift <= 16 or backward.terms > AVR_WIDE_OUTPUTS:
        return ""
    is_few = backward.plain and backward.terms <= 3 and inputs <= 255
    if not is_few and is_large(inputs, backward.terms):
        return "_large"
    return "_plain" if backward.plain else "_wide"


def _output_delta_call(model: IntModel, layer: Dense, k: int) -> str:
    """Deltas of a sigmoid output layer, for half the squared error; "" for any other."""
    if layer.activation != "sigmoid" or model.loss != "squared_error":
        return ""
    shift = _delta_shift(model, layer)
    plain = "_plain" if 9 <= shift <= 16 else ""
    return (
        f"bp_output_delta_sigmoid{plain}(s->dz{k}, s->a{k}, t, {layer.a_format.frac}, "
        f"{shift}, {layer.dz_top}, BP_COUNTERS(s), {layer.outputs});"
    )


def _learn_output_call(model: IntModel, layer: Dense, k: int) -> str:
    """The same and the output's part of a step; "" where that takes two calls."""
    if "_plain" not in _output_delta_call(model, layer, k):
        return ""
    return (
        f"bp_learn_output_sigmoid(s->dz{k}, g{k}, s->a{k}, t, {layer.a_format.frac}, "
        f"{_delta_shift(model, layer)}, {layer.dz_top}, mantissa, BP_COUNTERS(s), {layer.outputs});"
    )


def _sparsity(model: IntModel, layer: Dense) -> SparsityView:
    assert model.training is not None and model.training.sparsity is not None
    assert layer.sparsity is not None
    return SparsityView(
        rate=model.training.sparsity.rate,
        target=model.training.sparsity.target,
        offset=layer.sparsity.offset,
        reciprocal=layer.sparsity.reciprocal,
        multiplier=layer.sparsity.multiplier,
        shift=layer.sparsity.shift,
    )


def _training(
    model: IntModel, prefix: str, layers: tuple[LayerView, ...], small: bool
) -> TrainingView | None:
    training = model.training
    if training is None:
        return None
    fused = tuple(layer for layer in layers if not small and _is_fused(model, layer.k))
    learning = tuple(layer for layer in layers if model.learns(layer.k))
    # From the output down, each layer makes the steps of the next.
    chains = layers[-len(learning) :] == learning and fused == learning[1:]
    chains = chains and all(layer.learn_kind for layer in fused)
    chain = tuple(reversed(fused)) if chains else ()
    applies = training.update in ("batch", "momentum")
    with_dz = [layer for layer in layers if layer.dz]
    return TrainingView(
        residual=training.update == "residual",
        stochastic=training.update == "stochastic",
        seeded=training.update == "stochastic" and training.seed > 0,
        online=not applies,
        applies=applies,
        has_momentum=training.update == "momentum",
        decays=training.decay > 0,
        decay=training.decay,
        decay_argument="s->decay" if training.decay > 0 else "0",
        momentum=training.momentum,
        seed=training.seed,
        mantissa=training.learning_rate.mantissa,
        exponent=training.learning_rate.exponent,
        batch_size=training.batch_size,
        smallest_shift=-8 if applies else 0,
        hidden_deltas=tuple(
            HiddenDelta(layers[layer.k - 1], layers[layer.k])
            for layer in reversed(with_dz)
            if layer.k < len(layers)
        ),
        learning=learning,
        fused=() if chain else fused,
        chain=chain,
        last=learning[:1],
        calls=(f"{prefix}_learn(s, t);",) if chain else tuple(_calls(model, prefix, fused)),
    )


def _is_fused(model: IntModel, k: int) -> bool:
    """Whether one pass over layer k's weights makes the deltas below and its step."""
    training = model.training
    if training is None or k == 1 or not model.learns(k) or not model.has_dz(k - 1):
        return False
    below = model.layers[k - 2]
    online = training.update in ("residual", "stochastic") and training.decay == 0
    return online and below.activation == "sigmoid" and below.sparsity is None


def _calls(model: IntModel, prefix: str, fused: tuple[LayerView, ...]) -> Iterator[str]:
    """What train does behind the forward pass, layer by layer (section 10)."""
    yield f"{prefix}_delta{len(model.layers)}(s, t);"
    for k in range(len(model.layers), 0, -1):
        if k in [layer.k for layer in fused]:
            yield f"{prefix}_learn{k}(s);"
            continue
        if k > 1 and model.has_dz(k - 1):
            yield f"{prefix}_delta{k - 1}(s);"
        if model.learns(k):
            yield f"{prefix}_update{k}(s);"


def _stored(layer: Dense) -> list[int]:
    """The weights in the order of bp_weight_index()."""
    rows = [(*row, 0) for row in layer.w] if layer.inputs % 2 else layer.w
    return [row[i + h] for i in range(0, layer.inputs, 2) for row in rows for h in (0, 1)]


def _rom(
    model: IntModel, layers: tuple[LayerView, ...], prefix: str, self_test: SelfTest
) -> Iterator[RomArray]:
    for view, layer in zip(layers, model.layers, strict=True):
        if model.learns(view.k):
            continue
        shape = f"[{even(view.inputs) // 2}][{view.outputs}][2], {layer.w_format}"
        text = f"Layer {view.k} weights, {shape}."
        kind = "bp_w8_t" if view.is_byte else "int16_t"
        stored = _stored(layer)
        rows = cfmt.pairs(stored, "BP_W8") if view.is_byte else cfmt.rows(stored)
        yield RomArray("BP_ALIGNED ", kind, f"{prefix}_w{view.k}_rom", len(stored), text, rows)
        bias_format = f"s32q{view.forward.acc_frac}" if view.is_byte else str(layer.w_format)
        yield _rom_array(
            "int32_t" if view.is_byte else "int16_t",
            f"{prefix}_b{view.k}_rom",
            layer.b,
            f"Layer {view.k} biases, {bias_format}.",
        )
    yield from _rom_initial(model, prefix)
    yield from _rom_tables(model, layers, prefix)
    a0 = model.input
    text = f"Input: a0 = (count - offset) * multiplier * 2^-shift, {a0.a_format}. Offsets."
    yield _rom_array("int32_t", f"{prefix}_input_offset", a0.offset, text)
    yield _rom_array("uint16_t", f"{prefix}_input_multiplier", a0.multiplier, "Its multipliers.")
    yield _rom_array("uint8_t", f"{prefix}_input_shift", a0.shift, "Its shifts.")
    byte = model.input.a_format.bits == 8
    for name, kind, values in (
        ("a0", "uint8_t" if byte else "int16_t", self_test.a0),
        ("t", "int16_t", self_test.t),
        ("a", "int16_t", self_test.a),
    ):
        meaning = {"a0": "inputs", "t": "targets", "a": "expected outputs"}[name]
        if name != "t" or model.training:
            yield _rom_array(
                kind,
                f"{prefix}_test_{name}",
                [value for sample in values for value in sample],
                f"Self-test {meaning}, a sample after the other.",
            )


def _rom_tables(model: IntModel, layers: tuple[LayerView, ...], prefix: str) -> Iterator[RomArray]:
    seen = set()
    for view, layer in zip(layers, model.layers, strict=True):
        if not view.table or view.table in seen:
            continue
        seen.add(view.table)
        table = _table(layer)
        meaning = {
            "sigmoid": "1 / (1 + exp(-x))",
            "tanh_opt": "1.7159 tanh(2x / 3)",
            "exp": "exp(-x)",
        }[table.name]
        text = f"{meaning} for x in [0, 8), u16q{table.frac}, {1 << table.bits} intervals."
        yield _rom_array("uint16_t", view.table, table.entries, text)
    if model.loss == "cross_entropy":
        text = "ln(1 + x) for x in [0, 1), u16q16, 64 intervals."
        yield _rom_array("uint16_t", f"{prefix}_ln_table", lut.ln_table().entries, text)


def _rom_array(kind: str, name: str, values: Sequence[int], comment: str) -> RomArray:
    return RomArray("", kind, name, len(values), comment, cfmt.rows(values))


def _learning(model: IntModel) -> list[tuple[int, Dense]]:
    return [(k, layer) for k, layer in enumerate(model.layers, start=1) if model.learns(k)]


def _initial(model: IntModel, prefix: str) -> InitialView | None:
    learning = [k for k, _ in _learning(model)]
    if not learning:
        return None
    return InitialView(f"{prefix}_initial_rom", f"w{learning[0]}", f"b{learning[-1]}")


def _rom_initial(model: IntModel, prefix: str) -> Iterator[RomArray]:
    """Weights and biases of the layers that learn, in the order of the state."""
    initial = _initial(model, prefix)
    if initial is None:
        return
    parts = [
        (
            f"w{k} [{even(layer.inputs) // 2}][{layer.outputs}][2], {layer.w_format}",
            _stored(layer),
        )
        for k, layer in _learning(model)
    ]
    parts += [(f"b{k}, {layer.w_format}", list(layer.b)) for k, layer in _learning(model)]
    yield RomArray(
        aligned="",
        type="int16_t",
        name=initial.rom,
        length=sum(len(values) for _, values in parts),
        comment="Initial weights and biases, as the state has them.",
        rows=tuple(row for what, values in parts for row in (f"/* {what} */", *cfmt.rows(values))),
    )


def _fills(model: IntModel, layers: tuple[LayerView, ...]) -> Iterator[ResetFill]:
    for view, layer in zip(layers, model.layers, strict=True):
        if view.p and layer.sparsity:
            yield ResetFill(view.p, view.outputs, cfmt.integer(layer.sparsity.initial_mean))
