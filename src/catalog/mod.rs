//! What each model costs, accepts and reads: dated facts from `config/models.toml`.
