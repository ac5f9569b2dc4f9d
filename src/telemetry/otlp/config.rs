//! The `OTEL_*` variables. The environment is given as a lookup; a value that cannot be used is
//! ignored with a warning, as the specification asks.

/// The settings of the export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, decoded.
    pub resource_attributes: Vec<(String, String)>,
}

/// A variable with a value that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The variable's name.
    pub variable: &'static str,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl Config {
    /// Reads the variables. An empty value counts as unset.
    pub fn from_env(lookup: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<Warning>) {
        let config =
            Config { service_name: lookup("OTEL_SERVICE_NAME").filter(|name| !name.is_empty()), ..Config::default() };
        (config, Vec::new())
    }
}
