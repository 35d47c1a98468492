"""onnxruntime, one thread: a model of Gemm and Relu nodes, made with onnx."""

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NAME = f"onnxruntime {onnxruntime.__version__}, model by onnx {onnx.__version__}"
OPSET, IR = 17, 8                        # of 2022: any onnxruntime of today reads them


def model(network, weights):
    nodes, constants, name = [], [], "x"
    for k, ((weight, bias), (activation, _)) in enumerate(zip(weights, network.plan, strict=True)):
        constants += [numpy_helper.from_array(weight, f"w{k}"), numpy_helper.from_array(bias, f"b{k}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{k}", f"b{k}"], [f"z{k}"]))
        name = f"z{k}"
        if activation:
            nodes.append(helper.make_node(activation.capitalize(), [name], [f"y{k}"]))
            name = f"y{k}"
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", width])
            for n, width in (("x", network.sizes[0]), (name, network.sizes[-1])))
    graph = helper.make_graph(nodes, "mlp", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


class Predict:
    def __init__(self, network, weights):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model(network, weights).SerializeToString(), options,
                                                    providers=["CPUExecutionProvider"])

    def predict(self, row):
        return self.session.run(None, {"x": row})[0]
