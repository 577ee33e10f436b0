//! Signed links: which query parameters are the signature, and when it stops working.
//!
//! A parameter leaves the key only as a part of a scheme that is recognised as a whole: `?id=7&t=90` selects content,
//! and `?token=…&t=1777636800` signs it. To keep one too many costs a second copy in the cache; to drop one too many
//! would take one film for another.

use crate::address::Address;
use crate::encoding::{decode, decode_query, from_base64};
use crate::moment;

/// A way to sign links.
struct Scheme {
    /// Parameters that must all be there. Case does not matter, here and below.
    marks: &'static [&'static str],
    /// Parameters that belong to the signature; one with a `*` stands for all that begin so.
    drops: &'static [&'static str],
    expiry: Expiry,
}

/// Where a scheme says when a link stops working.
enum Expiry {
    /// Seconds or milliseconds since 1970, or ISO 8601.
    At(&'static str),
    /// Seconds since 1970, in hexadecimal.
    Hex(&'static str),
    /// A basic ISO 8601 moment and a number of seconds after it.
    After(&'static str, &'static str),
    /// `from;to` in seconds since 1970.
    Span(&'static str),
    /// A CloudFront policy, or else seconds since 1970.
    Policy(&'static str, &'static str),
}

const SCHEMES: &[Scheme] = &[
    // Amazon S3 and everything that speaks it, Signature Version 4
    Scheme { marks: &["x-amz-signature"], drops: &["x-amz-*"], expiry: Expiry::After("x-amz-date", "x-amz-expires") },
    // the same, Version 2
    Scheme {
        marks: &["awsaccesskeyid", "signature", "expires"],
        drops: &["awsaccesskeyid", "signature", "expires", "x-amz-security-token"],
        expiry: Expiry::At("expires"),
    },
    // Google Cloud Storage, V4
    Scheme {
        marks: &["x-goog-signature"],
        drops: &["x-goog-*"],
        expiry: Expiry::After("x-goog-date", "x-goog-expires"),
    },
    // the same, V2
    Scheme {
        marks: &["googleaccessid", "signature", "expires"],
        drops: &["googleaccessid", "signature", "expires"],
        expiry: Expiry::At("expires"),
    },
    // Aliyun OSS, V4. x-oss-process stays: it selects what is made of the object.
    Scheme {
        marks: &["x-oss-signature"],
        drops: &[
            "x-oss-signature",
            "x-oss-signature-version",
            "x-oss-credential",
            "x-oss-date",
            "x-oss-expires",
            "x-oss-additional-headers",
            "x-oss-security-token",
        ],
        expiry: Expiry::After("x-oss-date", "x-oss-expires"),
    },
    // the same, V1
    Scheme {
        marks: &["ossaccesskeyid", "signature", "expires"],
        drops: &["ossaccesskeyid", "signature", "expires", "security-token"],
        expiry: Expiry::At("expires"),
    },
    // Tencent COS
    Scheme {
        marks: &["q-signature", "q-sign-time"],
        drops: &[
            "q-signature",
            "q-sign-algorithm",
            "q-ak",
            "q-sign-time",
            "q-key-time",
            "q-header-list",
            "q-url-param-list",
            "x-cos-security-token",
        ],
        expiry: Expiry::Span("q-sign-time"),
    },
    // Amazon CloudFront
    Scheme {
        marks: &["key-pair-id", "signature"],
        drops: &["key-pair-id", "signature", "policy", "expires", "hash-algorithm"],
        expiry: Expiry::Policy("policy", "expires"),
    },
    // Azure, shared access signature
    Scheme {
        marks: &["sig", "sv", "se"],
        drops: &[
            "sig", "sv", "se", "sp", "sr", "st", "spr", "sip", "si", "ss", "srt", "sdd", "skoid", "sktid", "skt",
            "ske", "sks", "skv",
        ],
        expiry: Expiry::At("se"),
    },
    // Tencent CDN
    Scheme { marks: &["txsecret", "txtime"], drops: &["txsecret", "txtime"], expiry: Expiry::Hex("txtime") },
    // Wangsu CDN
    Scheme { marks: &["wssecret", "wstime"], drops: &["wssecret", "wstime"], expiry: Expiry::Hex("wstime") },
    // Discord
    Scheme { marks: &["ex", "is", "hm"], drops: &["ex", "is", "hm"], expiry: Expiry::Hex("ex") },
];

/// Parameters whose whole meaning is who asks.
const CREDENTIALS: &[&str] = &["access_token", "api_key", "x-emby-token", "x-plex-token"];
/// Parameters that carry a signature when one of `MOMENTS` stands beside them: nginx `secure_link`, Qiniu, and the many
/// that were made after them.
const SIGNATURES: &[&str] =
    &["hash", "hmac", "lsig", "md5", "sig", "sign", "signature", "st", "token", "upsig", "x-signature"];
/// Parameters that carry a moment.
const MOMENTS: &[&str] =
    &["deadline", "e", "exp", "expire", "expires", "expiry", "se", "t", "timestamp", "ts", "x-expires"];
/// Those of them that say when a link stops working even with no signature beside them.
const EXPIRIES: &[&str] = &["deadline", "e", "exp", "expire", "expires", "expiry", "se", "x-expires"];
/// A shorter value is not a signature: 64 bits in hexadecimal, 96 in base64.
const MIN_SIGNATURE: usize = 16;

/// A stable name for the bytes: the URL without credentials and without its signature.
pub fn key(address: &Address) -> String {
    let Some(query) = address.query.as_deref() else { return address.url() };
    let query = Query::of(query);
    let dropped = query.signature();
    let kept = query.pairs.iter().filter(|pair| !dropped.iter().any(|name| pair.is(name)) && !pair.signs_alone());
    let kept: Vec<&str> = kept.map(|pair| pair.text).collect();
    address.url_with_query((!kept.is_empty()).then(|| kept.join("&")).as_deref())
}

/// When the link stops working, if it says so: the earliest of the moments in it.
pub fn expiry_ms(query: Option<&str>) -> Option<u64> {
    let query = Query::of(query?);
    let schemes: Vec<&Scheme> = query.schemes().collect();
    if !schemes.is_empty() {
        return schemes.into_iter().filter_map(|scheme| query.expiry(&scheme.expiry)).min();
    }
    let alone = query.pairs.iter().filter_map(|pair| akamai_expiry(pair).or_else(|| auth_key_expiry(pair)));
    let named = EXPIRIES.iter().filter_map(|name| moment_of(&query.value(name)?));
    alone.chain(named).min()
}

/// A query, taken apart once.
struct Query<'a> {
    pairs: Vec<Pair<'a>>,
}

struct Pair<'a> {
    /// As it stands in the query.
    text: &'a str,
    name: String,
    value: String,
}

impl<'a> Query<'a> {
    fn of(query: &'a str) -> Self {
        let pairs = query.split('&').filter(|text| !text.is_empty());
        Self { pairs: pairs.map(Pair::of).collect() }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.pairs.iter().find(|pair| pair.is(name)).map(|pair| pair.value.clone())
    }

    fn schemes(&self) -> impl Iterator<Item = &'static Scheme> {
        SCHEMES.iter().filter(|scheme| scheme.marks.iter().all(|mark| self.value(mark).is_some()))
    }

    /// The names of the parameters that sign.
    fn signature(&self) -> Vec<&'static str> {
        let known: Vec<_> = self.schemes().flat_map(|scheme| scheme.drops).copied().collect();
        if !known.is_empty() {
            return known;
        }
        let signs = |name: &&&str| {
            let value = self.value(name).unwrap_or_default();
            value.len() >= MIN_SIGNATURE && moment_of(&value).is_none()
        };
        let moments = |name: &&&str| self.value(name).is_some_and(|value| moment_of(&value).is_some());
        let signatures: Vec<_> = SIGNATURES.iter().filter(signs).copied().collect();
        let moments: Vec<_> = MOMENTS.iter().filter(moments).copied().collect();
        if signatures.is_empty() || moments.is_empty() { Vec::new() } else { [signatures, moments].concat() }
    }

    fn expiry(&self, expiry: &Expiry) -> Option<u64> {
        match expiry {
            Expiry::At(name) => moment_of(&self.value(name)?),
            Expiry::Hex(name) => {
                let value = self.value(name)?;
                moment::from_hex(&value).or_else(|| moment::from_unix(&value))
            }
            Expiry::After(date, seconds) => {
                let seconds: u32 = self.value(seconds)?.parse().ok()?;
                Some(moment::from_iso(&self.value(date)?)? + u64::from(seconds) * 1000)
            }
            Expiry::Span(name) => moment::from_unix(self.value(name)?.split_once(';')?.1),
            Expiry::Policy(policy, name) => match self.value(policy) {
                Some(policy) => policy_expiry(&policy),
                None => moment_of(&self.value(name)?),
            },
        }
    }
}

impl<'a> Pair<'a> {
    fn of(text: &'a str) -> Self {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        Self { text, name: decode_query(name), value: decode(value) }
    }

    /// Whether this parameter has that name, or begins so when the name ends in `*`.
    fn is(&self, name: &str) -> bool {
        match name.strip_suffix('*') {
            Some(start) => self.name.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start)),
            None => self.name.eq_ignore_ascii_case(name),
        }
    }

    /// Whether this parameter is a credential or a signature all by itself.
    fn signs_alone(&self) -> bool {
        CREDENTIALS.iter().any(|name| self.is(name)) || is_akamai(self) || auth_key_expiry(self).is_some()
    }
}

fn moment_of(value: &str) -> Option<u64> {
    moment::from_unix(value).or_else(|| moment::from_iso(value))
}

/// Akamai: one parameter of any name with `exp=…~acl=…~hmac=…` in it.
fn is_akamai(pair: &Pair) -> bool {
    pair.value.split('~').any(|field| field.starts_with("hmac="))
}

fn akamai_expiry(pair: &Pair) -> Option<u64> {
    let exp = pair.value.split('~').find_map(|field| field.strip_prefix("exp="));
    exp.filter(|_| is_akamai(pair)).and_then(moment::from_unix)
}

/// Aliyun CDN, type A: `auth_key=<moment>-<random>-<user>-<MD5>`.
fn auth_key_expiry(pair: &Pair) -> Option<u64> {
    if !pair.is("auth_key") {
        return None;
    }
    let (at, rest) = pair.value.split_once('-')?;
    let (_, md5) = rest.rsplit_once('-')?;
    let digest = md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit());
    moment::from_unix(at).filter(|_| digest)
}

/// The `DateLessThan` of a policy, whose base64 has `-_~` for `+=/`.
fn policy_expiry(policy: &str) -> Option<u64> {
    let text: String = policy
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '=',
            '~' => '/',
            c => c,
        })
        .collect();
    let json = String::from_utf8(from_base64(&text)?).ok()?;
    let (_, condition) = json.split_once("\"DateLessThan\"")?;
    let (_, epoch) = condition.split_once("\"AWS:EpochTime\"")?;
    let digits = epoch.trim_start_matches(|c: char| c == ':' || c.is_whitespace());
    moment::from_unix(digits.split(|c: char| !c.is_ascii_digit()).next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 1_777_636_800_000;

    /// The query, what the key keeps of it, and the expiry in it.
    fn check(query: &str, kept: &str, expiry: Option<u64>) {
        let address = Address::parse(&format!("https://u:p@h/f?{query}")).unwrap();
        let expected = if kept.is_empty() { "https://h/f".to_owned() } else { format!("https://h/f?{kept}") };
        assert_eq!(key(&address), expected, "{query}");
        assert_eq!(expiry_ms(address.query.as_deref()), expiry, "{query}");
    }

    #[test]
    fn what_selects_content_stays() {
        check("", "", None);
        check("id=7", "id=7", None);
        check("id=7&t=90", "id=7&t=90", None);
        check("id=1777636800&t=90", "id=1777636800&t=90", None);
        check("v=2&t=1777636800", "v=2&t=1777636800", None);
        check("token=0123456789abcdef0123", "token=0123456789abcdef0123", None);
        check("token=short&t=1777636800", "token=short&t=1777636800", None);
        check("sign=no&e=3", "sign=no&e=3", None);
        check("signature=0123456789abcdef&page=2", "signature=0123456789abcdef&page=2", None);
        check("hash=0123456789abcdef0123456789abcdef", "hash=0123456789abcdef0123456789abcdef", None);
        check("st=2026&sp=r", "st=2026&sp=r", None);
        check("auth_key=open", "auth_key=open", None);
        check("policy=strict&expires=never", "policy=strict&expires=never", None);
        check("b=2&a=1&b=2", "b=2&a=1&b=2", None);
        check("a&&b=", "a&b=", None);
        check("versionId=x&partNumber=2", "versionId=x&partNumber=2", None);
    }

    #[test]
    fn an_expiry_may_stand_alone_and_then_stays() {
        check("expires=1777636800", "expires=1777636800", Some(AT));
        check("Expires=1777636800000", "Expires=1777636800000", Some(AT));
        check("exp=1777636800&e=1777636801", "exp=1777636800&e=1777636801", Some(AT));
        check("se=2026-05-01T12%3A00%3A00Z", "se=2026-05-01T12%3A00%3A00Z", Some(AT));
        check("e=5", "e=5", None);
    }

    #[test]
    fn object_stores() {
        check(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F20260501&X-Amz-Date=20260501T110000Z\
             &X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=ab&versionId=3",
            "versionId=3",
            Some(AT),
        );
        check("x-amz-signature=ab&x-amz-date=20260501T120000Z", "", None);
        check("X-Amz-Date=20260501T110000Z&X-Amz-Expires=3600", "X-Amz-Date=20260501T110000Z&X-Amz-Expires=3600", None);
        check("AWSAccessKeyId=k&Expires=1777636800&Signature=ab%3D&x=1", "x=1", Some(AT));
        check(
            "X-Goog-Signature=ab&X-Goog-Date=20260501T110000Z&X-Goog-Expires=3600&generation=7",
            "generation=7",
            Some(AT),
        );
        check("GoogleAccessId=a&Expires=1777636800&Signature=ab", "", Some(AT));
        check(
            "OSSAccessKeyId=a&Expires=1777636800&Signature=ab&security-token=s&x-oss-process=video",
            "x-oss-process=video",
            Some(AT),
        );
        check(
            "x-oss-date=20260501T110000Z&x-oss-expires=3600&x-oss-signature=ab&x-oss-signature-version=OSS4&x-oss-process=v",
            "x-oss-process=v",
            Some(AT),
        );
        check(
            "q-sign-algorithm=sha1&q-ak=k&q-sign-time=1777600000;1777636800&q-key-time=1777600000%3B1777636800\
             &q-header-list=&q-url-param-list=&q-signature=ab&q=cats",
            "q=cats",
            Some(AT),
        );
        check(
            "sv=2024-11-04&st=2026-05-01T00:00:00Z&se=2026-05-01T12:00:00Z&sr=b&sp=r&sig=ab%2Bcd%3D&snapshot=1",
            "snapshot=1",
            Some(AT),
        );
        check("sv=2024-11-04&sig=ab&se=2026-05-01", "", Some(1_777_593_600_000));
    }

    #[test]
    fn delivery_networks() {
        check("Expires=1777636800&Signature=ab~&Key-Pair-Id=K1&id=1", "id=1", Some(AT));
        let policy = crate::encoding::to_base64(
            br#"{"Statement":[{"Resource":"*","Condition":{"DateLessThan":{"AWS:EpochTime": 1777636800}}}]}"#,
        );
        let policy = policy.replace('+', "-").replace('=', "_").replace('/', "~");
        check(&format!("Policy={policy}&Signature=ab&Key-Pair-Id=K1"), "", Some(AT));
        check("Policy=%21&Signature=ab&Key-Pair-Id=K1", "", None);
        check("auth_key=1777636800-0-0-0123456789abcdef0123456789abcdef&id=1", "id=1", Some(AT));
        check("hdnts=st=1777600000~exp=1777636800~acl=/*~hmac=abcd&b=1", "b=1", Some(AT));
        check("__token__=exp%3D1777636800~hmac%3Dabcd", "", Some(AT));
        check("txSecret=0123456789abcdef0123456789abcdef&txTime=69F495C0", "", Some(AT));
        check("wsSecret=0123456789abcdef0123456789abcdef&wsTime=1777636800", "", Some(AT));
        check("ex=69f495c0&is=69f34440&hm=0123456789abcdef&format=webp", "format=webp", Some(AT));
        check("md5=AbCdEfGhIjKlMnOpQrStUv&expires=1777636800&id=1", "id=1", Some(AT));
        check("st=AbCdEfGhIjKlMnOpQrStUv&e=1777636800", "", Some(AT));
        check("e=1777636800&token=accesskey:c2lnbmF0dXJl", "", Some(AT));
        check("sign=0123456789abcdef0123456789abcdef&t=1777636800&id=1", "id=1", None);
        check(
            "expire=1777636800&sig=0123456789abcdef01&lsig=0123456789abcdef02&id=v&itag=18",
            "id=v&itag=18",
            Some(AT),
        );
        check("deadline=1777636800&upsig=0123456789abcdef0123&mid=0", "mid=0", Some(AT));
        check("x-expires=1777636800&x-signature=c2lnbmF0dXJlMTIz%3D", "", Some(AT));
    }

    #[test]
    fn credentials_stay_out() {
        check("api_key=secret&static=true", "static=true", None);
        check("X-Plex-Token=secret&access_token=secret", "", None);
    }
}
