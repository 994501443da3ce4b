//! What guards can look for: known forms by name, and groups of them.

use super::value::{FromText, choose};

macro_rules! detectors {
    ($($(#[$doc:meta])* $value:ident = $name:literal, $group:ident;)+) => {
        /// A known form of a secret, of personal data or of suspicious input.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Detector { $($(#[$doc])* $value,)+ }

        impl Detector {
            /// Every one, in the order in which they are looked for: of two that find the same, the first counts.
            pub const ALL: &[Self] = &[$(Self::$value),+];

            /// Returns the name used in configuration, headers, the journal and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }

            /// Tells whether it is of a secret or of personal data, which no store may hold.
            #[must_use]
            pub const fn is_private(self) -> bool {
                matches!(self.group(), Group::Secrets | Group::Pii)
            }

            const fn group(self) -> Group {
                match self { $(Self::$value => Group::$group),+ }
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Secrets,
    Pii,
    Suspicious,
}

detectors! {
    /// A private key in PEM.
    PrivateKey = "private-key", Secrets;
    /// A key of Anthropic's API.
    AnthropicKey = "anthropic-key", Secrets;
    /// A key of this gateway.
    TercetKey = "tercet-key", Secrets;
    /// An access key id of AWS.
    AwsKey = "aws-key", Secrets;
    /// A secret access key of AWS, where it is called so.
    AwsSecret = "aws-secret", Secrets;
    /// A key of Google Cloud's APIs.
    GoogleKey = "google-key", Secrets;
    /// A key of an Azure storage account.
    AzureKey = "azure-key", Secrets;
    /// A token of GitHub's.
    GithubToken = "github-token", Secrets;
    /// A token of GitLab's.
    GitlabToken = "gitlab-token", Secrets;
    /// A token or webhook of Slack's.
    SlackToken = "slack-token", Secrets;
    /// A secret key of Stripe's.
    StripeKey = "stripe-key", Secrets;
    /// A key of OpenAI's API.
    OpenaiKey = "openai-key", Secrets;
    /// A token for publishing packages.
    PackageToken = "package-token", Secrets;
    /// A token of another well-known service.
    ServiceToken = "service-token", Secrets;
    /// A JSON web token.
    Jwt = "jwt", Secrets;
    /// The password in an address.
    UrlPassword = "url-password", Secrets;
    /// An e-mail address.
    Email = "email", Pii;
    /// An IBAN.
    Iban = "iban", Pii;
    /// The number of a payment card.
    CreditCard = "credit-card", Pii;
    /// A telephone number.
    Phone = "phone", Pii;
    /// A social security number of the USA.
    UsSsn = "us-ssn", Pii;
    /// A public address of a host.
    IpAddress = "ip-address", Pii;
    /// Words that want to take the place of instructions.
    Injection = "injection", Suspicious;
    /// Characters that a model reads and a person does not see.
    HiddenText = "hidden-text", Suspicious;
}

/// One entry of `detect`: a detector, or all of a group.
#[derive(Clone, Debug)]
pub(super) struct Detectors(pub(super) Vec<Detector>);

impl FromText for Detectors {
    const EXPECTED: &'static str =
        "a kind of finding such as \"email\", or \"secrets\", \"pii\" or \"suspicious\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let groups = [("secrets", Group::Secrets), ("pii", Group::Pii), ("suspicious", Group::Suspicious)];
        if let Some((_, group)) = groups.iter().find(|(name, _)| *name == text) {
            let all = Detector::ALL.iter().copied();
            return Ok(Self(all.filter(|detector| detector.group() == *group).collect()));
        }
        let choices: Vec<(&str, Detector)> =
            Detector::ALL.iter().map(|detector| (detector.name(), *detector)).collect();
        choose(text, &choices).map(|detector| Self(vec![detector]))
    }
}
