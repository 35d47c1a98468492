"""NumPy by hand, at its best: forward, backward and Adam written out, every result into memory made beforehand."""

import numpy as np

NAME = f"NumPy {np.__version__}, by hand"
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
CHUNK = 32768                            # Adam in pieces whose five arrays stay in the core's L2


def takes(network):
    return network.activation == "relu" and network.dtype == "float32"


class Step:
    def __init__(self, network, weights, batches, lr):
        B, sizes = network.batch, network.sizes
        self.plan = network.plan
        self.mse, self.lr, self.t, self.batches = network.loss == "mse", np.float32(lr), 0, batches
        n = sum(w.size + b.size for w, b in weights)
        flat = np.zeros((5, n), np.float32)              # parameters, gradients, both moments, room
        flat[0] = np.concatenate([a.ravel() for pair in weights for a in pair])
        self.chunks = [tuple(row[i:i + CHUNK] for row in flat) for i in range(0, n, CHUNK)]
        self.w, self.b, self.dw, self.db = [], [], [], []
        at = 0
        for w, b in weights:
            for array, value, grad in ((w, self.w, self.dw), (b, self.b, self.db)):
                value.append(flat[0, at:at + array.size].reshape(array.shape))
                grad.append(flat[1, at:at + array.size].reshape(array.shape))
                at += array.size
        self.a = [np.empty((B, n), np.float32) for n in sizes[1:]]
        self.d = [np.empty((B, n), np.float32) for n in sizes[1:]]
        self.on = [np.empty((B, n), bool) for n in sizes[1:]]
        self.row, self.rows, self.ones = np.empty((B, 1), np.float32), np.arange(B), np.ones(B, np.float32)

    def step(self, i):
        x, y = self.batches[i]
        a, d, last = self.a, self.d, len(self.w) - 1
        before, inner = None, x
        for k, (relu, skip) in enumerate(self.plan):
            np.matmul(inner, self.w[k], out=a[k])
            np.add(a[k], self.b[k], out=a[k])
            if relu:
                np.maximum(a[k], 0, out=a[k])
            if skip:
                np.add(a[k], before, out=a[k])
            before, inner = inner, a[k]
        loss = self.squares(a[last], y, d[last]) if self.mse else self.classes(a[last], y, d[last])
        for k in range(last, -1, -1):
            np.matmul((a[k - 1] if k else x).T, d[k], out=self.dw[k])
            np.matmul(self.ones, d[k], out=self.db[k])   # faster than a sum over rows
            if k == 0:
                break
            np.matmul(d[k], self.w[k].T, out=d[k - 1])
            if k < last and self.plan[k + 1][1]:         # what layer k + 1 added was this layer's input
                np.add(d[k - 1], d[k + 1], out=d[k - 1])
            if self.plan[k - 1][0]:
                np.greater(a[k - 1], 0, out=self.on[k - 1])
                np.multiply(d[k - 1], self.on[k - 1], out=d[k - 1])
        self.adam()
        return loss

    def squares(self, z, y, dz):
        np.subtract(z, y, out=dz)
        loss = np.vdot(dz, dz) / dz.size
        np.multiply(dz, np.float32(2 / dz.size), out=dz)
        return loss

    def classes(self, z, y, dz):
        """Mean of log(sum e^z) - z[y], and its derivative (softmax - one hot) / B."""
        np.max(z, axis=1, keepdims=True, out=self.row)
        np.subtract(z, self.row, out=z)
        np.exp(z, out=dz)
        np.sum(dz, axis=1, keepdims=True, out=self.row)
        np.divide(dz, self.row, out=dz)
        np.log(self.row, out=self.row)
        loss = (self.row.sum() - z[self.rows, y].sum()) / len(y)
        dz[self.rows, y] -= 1
        np.multiply(dz, np.float32(1 / len(y)), out=dz)
        return loss

    def adam(self):
        # m / (1 - beta1) and v / (1 - beta2) are kept in place of m and v: that saves two passes over memory
        self.t += 1
        root = ((1 - BETA2) / (1 - BETA2**self.t)) ** 0.5
        size = np.float32(self.lr * (1 - BETA1) / (1 - BETA1**self.t) / root)
        eps = np.float32(EPS / root)
        for p, g, m, v, room in self.chunks:
            np.multiply(m, np.float32(BETA1), out=m)
            np.add(m, g, out=m)
            np.multiply(v, np.float32(BETA2), out=v)
            np.multiply(g, g, out=room)
            np.add(v, room, out=v)
            np.sqrt(v, out=room)
            np.add(room, eps, out=room)
            np.divide(m, room, out=room)
            np.multiply(room, size, out=room)
            np.subtract(p, room, out=p)


class Predict:
    def __init__(self, network, weights):
        *self.hidden, self.last = weights

    def predict(self, row):
        for w, b in self.hidden:
            row = row @ w
            row += b
            np.maximum(row, 0, out=row)
        row = row @ self.last[0]
        row += self.last[1]
        return row
