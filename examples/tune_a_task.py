"""The whole road in a few lines: a hub, a task, a search, a tune, a prediction. Takes seconds and needs no download.

Command:   python examples/tune_a_task.py
"""

import hubtune as ht


def main() -> None:
    hub = ht.Hub.open("demo").where("params < 2e5")
    task = ht.Task.open("demo:shapes").take(train=120, val=60, test=120)

    rank = ht.search(hub, task, strategy="knn", budget=1)
    for row in rank.rows:
        print(f"{row['rank']}  {row['name']:20} {row['score']:.3f}")

    run = ht.tune(task, rank.picks, method=ht.FineTune(steps=30), seed=0)
    print(f"test accuracy {run.metrics['test_accuracy']:.3f}, report {run.path / 'report.html'}")

    model = ht.load(run.path)
    images = task.test.canvas(range(4), None).permute(0, 2, 3, 1).numpy()
    prediction = model.predict(images)
    print(prediction.labels, prediction.probabilities.max(1).round(2))


if __name__ == "__main__":
    main()
