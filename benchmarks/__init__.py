"""Time and memory of mixedfit beside other libraries; see README.md."""
