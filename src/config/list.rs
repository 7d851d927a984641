//! Lists among the settings: the file has them as such, the environment as texts.

use serde::de::{Error as _, IntoDeserializer};
use serde::{Deserialize, Deserializer};

/// A list of the file, or a text of the environment with commas.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    source: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrList {
        Text(String),
        List(Vec<String>),
    }
    let items = match TextOrList::deserialize(source)? {
        TextOrList::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        TextOrList::List(items) => items,
    };
    items.into_iter().map(|item| T::deserialize(item.into_deserializer())).collect()
}

/// A list of numbers, written so.
pub(super) fn numbers<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TextOrList {
        Text(String),
        List(Vec<u32>),
    }
    match TextOrList::deserialize(source)? {
        TextOrList::Text(text) => {
            text.split(',').map(|item| item.trim().parse().map_err(D::Error::custom)).collect()
        }
        TextOrList::List(items) => Ok(items),
    }
}
