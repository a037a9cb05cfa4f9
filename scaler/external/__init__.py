"""KEDA's external scaler: the autoscaler's decisions, and PromQL, over gRPC. See docs/keda.md."""
