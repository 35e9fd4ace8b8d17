"""XGBoost, LightGBM and CatBoost, each read from its own dump."""
