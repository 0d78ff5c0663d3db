"""bertrt in engines that spread work over many machines: Ray and Spark.

Each needs its extra (`pip install 'bertrt[cpu,ray]'`, `'bertrt[cpu,spark]'`) on every machine.
"""
