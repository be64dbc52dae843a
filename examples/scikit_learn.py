"""Find wrong labels among features, with scikit-learn. Run: python examples/scikit_learn.py.

The data are scikit-learn's handwritten digits; 20 % of the training labels are made wrong.
"""

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_parameters import corrupt_labels
from data_parameters.integrations.sklearn import DataParametersClassifier

features, labels = load_digits(return_X_y=True)
X_train, X_test, y_clean, y_test = train_test_split(features, labels, random_state=0)
y_train = corrupt_labels(torch.from_numpy(y_clean), 0.2, seed=0)[0].numpy()
wrong = y_train != y_clean

plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
print(f"logistic regression: accuracy {plain.fit(X_train, y_train).score(X_test, y_test):.3f}")

pipeline = make_pipeline(StandardScaler(), DataParametersClassifier(random_state=0))
print(f"data parameters:     accuracy {pipeline.fit(X_train, y_train).score(X_test, y_test):.3f}")

issues = pipeline[-1].find_label_issues()
found = issues.is_label_issue
print(f"label issues: {found.sum()} found, {wrong[found].mean():.0%} of them wrong; ", end="")
print(f"{found[wrong].mean():.0%} of all {wrong.sum()} wrong labels")
print(issues.sort_values("label_score").head())
