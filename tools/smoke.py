"""A short run of an installed package, from a folder without the checkout and without the tests' tools."""

import os
import tempfile

import numpy as np

import cybackprop as cb
from cybackprop import data, nn, optim, train

assert os.path.dirname(os.path.dirname(cb.__file__)) != os.getcwd()
cb.seed(0)
X, y = data.digits()
model = nn.Sequential(nn.Dense(64, 64, activation="relu"), nn.Dense(64, 10))
trainer = train.Trainer(model, loss="cross_entropy", optimizer=optim.Adam(model.parameters(), lr=3e-3),
                        metrics=["accuracy"])
trainer.fit(X[:1400], y[:1400], epochs=8, batch_size=64)
accuracy = trainer.evaluate(X[1400:], y[1400:])["accuracy"]
assert accuracy > 0.85, accuracy
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "model.safetensors")
    model.save(path)
    twin = nn.Sequential(nn.Dense(64, 64, activation="relu"), nn.Dense(64, 10)).load(path)
assert np.array_equal(twin(X[:9]).numpy(), model(X[:9]).numpy())
assert np.array_equal(trainer.predict(X[:9])[4], trainer.predict(X[4:5])[0])
assert cb.grad(cb.grad(cb.sin))(0.5).item() == -cb.sin(0.5).item()
print(cb.show_config())
print(f"smoke: accuracy {accuracy:.3f}")
