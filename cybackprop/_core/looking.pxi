# Looking inside programs: what explain and profile print.


def program_facts(Program p):
    """{"slab": bytes, "scratch": bytes, "writes_from": first instruction that writes state, "sweep_from": ...}."""
    return {"slab": p.p.slab, "scratch": p.p.scratch, "writes_from": min(p.p.split, p.p.forward),
            "sweep_from": p.p.forward, "calls": p.calls}


def program_instructions(Program p):
    """[(what, inputs, outputs, line)]: the values by number, see `program_value`; None for a missing one."""
    cdef int32_t i, k
    cdef cbp_instr *x
    rows = []
    for i in range(p.p.n_instrs):
        x = &p.p.instrs[i]
        ins = [cbp_in(p.p, x)[k] for k in range(x.n_in)]
        outs = [cbp_out(p.p, x)[k] for k in range(x.n_out)]
        rows.append((op_text(&x.op), [None if v < 0 else v for v in ins], [None if v < 0 else v for v in outs],
                     source_of(p, x.line)))
    return rows


def program_steps(Program p, int32_t i):
    """[(what, [(whether it stays in its block, shape)], line)] of the instructions in a tile; shapes of a block."""
    cdef cbp_tile *t = p.p.instrs[i].op.tile
    cdef cbp_tile_reg *r
    cdef int32_t k, o, number
    rows = []
    for k in range(0 if t == NULL else t.n_steps):
        outs = []
        for o in range(t.steps[k].n_out):
            number = t.args[t.steps[k].out + o]
            if number >= 0:
                r = &t.regs[number]
                shape = [r.shape[j] for j in range(r.ndim)]
                outs.append((r.kind == CBP_REG_LOCAL, shape if r.kind == CBP_REG_SUM else [t.block, *shape[1:]]))
        rows.append((op_text(&t.steps[k].op), outs, source_of(p, t.steps[k].line)))
    return rows


cdef str source_of(Program p, int32_t line):
    return "" if line < 0 else p.lines[line]


def program_loop(Program p, int32_t i):
    """The Loop that instruction i runs, or None."""
    return None if p.p.instrs[i].op.loop == NULL else p.loops[<size_t>p.p.instrs[i].op.loop]


def loop_instructions(Loop loop, int which):
    """[(what, reads, writes, line, Loop or None)] of one of the programs that a loop runs; values as text."""
    cdef cbp_program *p = loop.l.program[which]
    cdef int32_t i, k
    cdef cbp_instr *x
    cdef BodyProgram body = loop.bodies[which]
    rows = []
    for i in range(p.n_instrs):
        x = &p.instrs[i]
        texts = [loop_value(loop, which, p.args[x.ins + k]) for k in range(x.n_in + x.n_out) if p.args[x.ins + k] >= 0]
        n = len([k for k in range(x.n_in) if p.args[x.ins + k] >= 0])
        rows.append((op_text(&x.op), texts[:n], texts[n:], "" if x.line < 0 else body.lines[x.line],
                     None if x.op.loop == NULL else body.loops[<size_t>x.op.loop]))
    return rows


cdef str loop_value(Loop loop, int which, int32_t v):
    """What a value of a body is: carry, slice, next, ...; its shape and dtype."""
    cdef cbp_program *p = loop.l.program[which]
    cdef cbp_value *x = &p.values[v]
    cdef int32_t root = cbp_root(p, v)
    cdef int i
    name = f"%{v}" if p.values[root].place == CBP_TEMP else PLACES[p.values[root].place]
    for i in range(loop.l.n_in):
        if loop.l.ins[which][i] == root:
            name = "carry" if i < loop.l.n_carry else "slice" if i < loop.l.n_carry + loop.l.n_x else "outside"
    for i in range(1 if which and loop.l.n_carry else loop.l.n_out):
        if loop.l.outs[which][i] == root:
            name = "next" if i < loop.l.n_carry and not which else "result"
    size = "x".join([str(x.shape[i]) for i in range(x.ndim)]) or "1"
    return f"{name} {size}" + ("" if x.dtype == CBP_F32 else f" {DTYPES[x.dtype].name}")


def program_value(Program p, int32_t v):
    """(place, dtype, shape, bytes, offset in the slab or None) of a value; place: "slab", "argument 0", ..."""
    cdef cbp_value *x = &p.p.values[v]
    cdef int32_t root = cbp_root(p.p, v)
    cdef int i
    place = PLACES[p.p.values[root].place]
    for i in range(p.n_inputs):
        if p.inputs[i].value == root:
            kind = p.inputs[i].kind
            place = (p.others[i] or f"argument {p.inputs[i].leaf}" if kind in (FROM_ARRAY, FROM_TENSOR) else
                     "gradient" if kind == FROM_GRAD else (<Place>p.others[i]).label)
    shape = tuple([x.shape[i] for i in range(x.ndim)])
    return (place, DTYPES[x.dtype], shape, x.size * cbp_itemsize(<cbp_dtype>x.dtype),
            p.p.values[root].offset if p.p.values[root].place == CBP_TEMP else None)


def program_times(Program p, object leaves, int repeat):
    """Seconds of each instruction, the least of `repeat` runs, on copies of the states."""
    cdef Frame frame = p.new_frame(True)
    cdef list made = [None] * p.n_outputs
    cdef call_view *views = <call_view *>calloc(len(leaves) + 1, sizeof(call_view))
    cdef int i, turn
    if views == NULL:
        raise MemoryError
    best = [float("inf")] * p.p.forward
    try:
        copies = p.bind(frame, leaves, views)
        p.bind_outputs(frame, made)
        for turn in range(repeat):
            for i in range(p.p.forward):
                start = perf_counter()
                status = cbp_frame_run(frame.f, i, i + 1)
                best[i] = min(best[i], perf_counter() - start)
                if status != CBP_OK:
                    raise TapeError(f"profile: {describe(p.p, i, p.lines)} refuses these arguments")
    finally:
        free(views)
    return best


cdef object explain_program = None, profile_program = None


def set_explain(explain, profile):
    """What `Program.explain` and `Program.profile` call: from `cybackprop.transforms`."""
    global explain_program, profile_program
    explain_program, profile_program = explain, profile


PLACES = ("slab", "argument", "result", "constant", "state")


cdef str op_text(const cbp_op *op):
    """op_name, and what was fused into it."""
    cdef int i
    name = op_name(op)
    if op.kind == CBP_OP_chain:
        links = [link_name(&op.chain.links[i]) for i in range(op.chain.n_links)]
        shown = links if len(links) <= 8 else [*links[:5], f"... {len(links) - 6} more ...", links[len(links) - 1]]
        return f"chain of {len(links)}: {' '.join(shown)}"
    if op.kind == CBP_OP_tile:
        shown = (f"{cbp_tile_units(op.tile)} x {op.tile.unit} rows" +
                 (f", {op.tile.block} at a time" if op.tile.block < op.tile.unit else ""))
        return f"tile of {op.tile.n_steps}: {shown}, threads: {op.tile.n_slots}"
    if op.kind in (CBP_OP_dense, CBP_OP_dense_vjp) and op.row >= 0:
        name += " " + cbp_unary_rows[op.row].name.decode()
    if op.kind == CBP_OP_optim:
        name = cbp_optim_rows[op.row].name.decode()
    if op.kind == CBP_OP_while_loop and op.flags:
        name += f" of {op.a[0]:,} steps at most"
    if op.kind == CBP_OP_scan:
        name += f" of {op.a[0]:,} steps" + (", backwards" if op.flags & 1 else "")
    if op.kind == CBP_OP_dense_vjp and op.prev >= 0:
        name += ", then slope of " + cbp_unary_rows[op.prev].name.decode()
    if op.kind == CBP_OP_dense_vjp and op.a[0] * op.a[1] > CBP_ONE_GROUP_ABOVE:
        name += ", dw as one group"
    return name


cdef str link_name(const cbp_link *link):
    if link.kind == CBP_LINK_UNARY:
        return cbp_unary_rows[link.row].name.decode()
    if link.kind == CBP_LINK_UNARY_VJP:
        return cbp_unary_rows[link.row].name.decode() + "'"
    return cbp_binary_rows[link.row].name.decode() + ("" if link.kind == CBP_LINK_BINARY else
                                                      "'a" if link.kind == CBP_LINK_SIDE_A else "'b")


cdef str describe(cbp_program *p, int32_t i, list lines):
    """What instruction i is and where it came from: "tanh at train.py:12"."""
    cdef cbp_instr *x = &p.instrs[i]
    name = op_name(&x.op)
    return name if x.line < 0 or not lines[x.line] else f"{name} at {lines[x.line]}"


cdef str op_name(const cbp_op *op):
    kind = cbp_op_infos[op.kind].name.decode()
    if op.kind == CBP_OP_unary:
        return cbp_unary_rows[op.row].name.decode()
    if op.kind == CBP_OP_unary_vjp:
        return cbp_unary_rows[op.row].name.decode() + "_vjp"
    if op.kind == CBP_OP_binary:
        return cbp_binary_rows[op.row].name.decode()
    if op.kind == CBP_OP_binary_vjp:
        return cbp_binary_rows[op.row].name.decode() + ("_vjp_b" if op.flags & 1 else "_vjp_a")
    if op.kind == CBP_OP_integer:
        return cbp_integer_rows[op.row].name.decode()
    return kind
