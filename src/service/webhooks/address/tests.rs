#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use super::*;

#[test]
fn only_addresses_of_the_internets_hosts_are_public() {
    for private in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:10::1",
        "2001:20::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!is_public(private.parse().unwrap()), "{private}");
    }
    for public in [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.20.0.1",
        "223.255.255.255",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2001:200::1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
        "3fff:1000::1",
    ] {
        assert!(is_public(public.parse().unwrap()), "{public}");
    }
}

#[test]
fn an_address_that_is_not_public_is_refused_however_it_is_written() {
    for private in [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://127。0。0。1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[0:0:0:0:0:ffff:7f00:1]:8443/",
        "https://169.254.169.254/latest/meta-data",
    ] {
        assert!(WebhookUrl::new(private, false).is_err(), "{private}");
        assert!(WebhookUrl::new(private, true).is_ok(), "{private}");
    }
    assert!(WebhookUrl::new("https://1.1.1.1/", false).is_ok());
    assert!(WebhookUrl::new("https://[2606:4700:4700::1111]/", false).is_ok());
}

#[test]
fn a_url_is_one_that_can_be_kept_secret_and_sent_to() {
    for wrong in [
        "",
        "receiver.example",
        "/payments",
        "http://receiver.example/",
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "https://",
        "https://user@receiver.example/",
        "https://:password@receiver.example/",
        "https://receiver.example/#there",
    ] {
        assert!(WebhookUrl::new(wrong, false).is_err(), "{wrong}");
    }
    let long = |length| format!("https://receiver.example/{}", "a".repeat(length));
    assert!(WebhookUrl::new(&long(1_975), false).is_ok());
    assert!(WebhookUrl::new(&long(1_976), false).is_err());
    let longer_when_written = format!("https://receiver.example/{}", "ä".repeat(1_000));
    assert!(WebhookUrl::new(&longer_when_written, false).is_err());
    assert!(WebhookUrl::new("https://receiver.example/payments?token=a%20b", false).is_ok());
    assert!(WebhookUrl::new("http://receiver.example/", true).is_ok());
}
