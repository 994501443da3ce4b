//! A configuration's text → a configuration or problems; never a secret in either.

use tercet::config;

/// Parses any text.
///
/// # Panics
/// Where a secret shows, or a problem says nothing.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let environment = |_: &str| Some(SECRET.to_owned());
    match config::parse(text, None, &environment) {
        Ok(config) => {
            let described = config::describe(&config).to_string();
            assert!(!described.contains(SECRET), "{described}");
            assert!(!format!("{config:?}").contains(SECRET));
        }
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= 33);
            for problem in problems {
                let told = problem.to_string();
                assert!(!told.is_empty() && !told.contains(SECRET), "{told}");
            }
        }
    }
}

const SECRET: &str = "tct-0123456789abcdef-is-secret";
