"""Labels and scores for a column of texts, with Spark.

    spark-submit examples/spark/classify_reviews.py MODEL INPUT.jsonl OUTPUT

MODEL: a folder that export-model wrote, at the same path on the driver and on every executor; or a
hub id.
INPUT: JSON Lines with a field `text`. OUTPUT: a folder of Parquet files.
"""

import sys
from pathlib import Path

from bertrt.integrations.spark import classifier_udf
from pyspark.sql import SparkSession


def main(model: str, source: str, output: str) -> None:
    """Read, classify, write."""
    spark = SparkSession.builder.appName("bertrt").getOrCreate()
    reviews = spark.read.json(source)
    classify = classifier_udf(model)
    classified = reviews.select("*", classify("text").alias("result"))
    classified.select("*", "result.*").drop("result").write.parquet(output)


if __name__ == "__main__":
    model, *files = sys.argv[1:]
    # Spark's workers need not work in the directory in which this is started.
    main(str(Path(model).absolute()) if Path(model).is_dir() else model, *files)
