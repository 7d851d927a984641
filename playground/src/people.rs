//! Who is there to play with.

use anyhow::{Result, bail};
use payonce::domain::{AccountId, Amount, IdempotencyKey, Name, Opening};
use payonce::service::{Refusal, Service};

/// The people of an empty ledger: accounts 1 to 10.
const NAMES: [&str; 10] =
    ["Ada", "Ben", "Chloe", "Dan", "Eva", "Finn", "Grace", "Hugo", "Iris", "Jack"];

/// The cents that each of them begins with.
const OPENING_CENTS: i64 = 100_000;

/// Opens accounts 1 to 10 with money where they are not there yet, so that the first request works at
/// once.
pub(crate) async fn open_accounts(service: &Service) -> Result<()> {
    for (id, name) in (1..).zip(NAMES) {
        let opening = Opening {
            id: Some(AccountId::new(id)?),
            name: Some(Name::new("name", name.to_owned())?),
            balance: Some(Amount::from_cents(OPENING_CENTS)?),
        };
        // With a key, so that an interrupted or simultaneous start fills what is missing.
        let key = IdempotencyKey::internal(&format!("playground account {id}"));
        match service.accounts.open(opening, Some(key)).await {
            Ok(_) | Err(Refusal::AccountExists(_)) => {}
            Err(refusal) => {
                bail!("the playground's account {id} cannot be opened: {refusal:?}")
            }
        }
    }
    Ok(())
}
