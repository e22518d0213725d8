// Sections `account` and `discovery`, and who may log in to a target: accounts, secrets and CHAP algorithms.
#include <fmt/format.h>

#include <set>

#include "target/config/config_builder.hpp"
#include "target/config/secrets.hpp"

namespace mpath::target {

void ConfigBuilder::build_accounts() {
  for (const Item& item : items_) {
    if (item.section.name != "account") continue;
    const SettingValues& values = values_of(item);
    const Origin& origin = item.section.origin;
    if (values.is_set("secret") == values.is_set("secret_file")) {
      complain(origin, fmt::format("account {} needs one of secret and secret_file", item.section.label));
      continue;
    }
    std::expected<std::string, std::string> text;
    Origin where;
    if (values.is_set("secret")) {
      text = values.text("secret");
      where = values.origin("secret");
    } else {
      text = read_secret_(values.text("secret_file"));
      where = values.origin("secret_file");
    }
    if (text) text = parse_secret(*text);
    if (!text) {
      complain(where, fmt::format("account {}: {}", item.section.label, text.error()));
      continue;
    }
    accounts_[item.section.label] = *text;
    result_.config.accounts.push_back({{item.section.label, *text}, origin, result_.objects[item.object].managed});
  }
  accounts_.emplace("", "");  // so that they are not built again
}

std::optional<Account> ConfigBuilder::account_of(const ConfigEntry& entry) {
  if (entry.words.empty() || entry.words.size() > 2) {
    complain(entry.origin, fmt::format("{} takes USER and, when there is no account of that name, SECRET", entry.key));
    return std::nullopt;
  }
  const std::string& user = entry.words[0];
  if (entry.words.size() == 2) {
    auto secret = parse_secret(entry.words[1]);
    if (!secret) {
      complain(entry.origin, fmt::format("{} {}: {}", entry.key, user, secret.error()));
      return std::nullopt;
    }
    return Account{user, *secret};
  }
  const auto found = accounts_.find(user);
  if (found == accounts_.end()) {
    complain(entry.origin, fmt::format("there is no account {} (or its secret was refused)", user));
    return std::nullopt;
  }
  return Account{user, found->second};
}

void ConfigBuilder::build_authentication(const Item& item, Authentication& authentication) {
  std::set<std::string> users;
  for (const ConfigEntry& entry : item.section.entries) {
    const bool incoming = entry.key == "incoming_user";
    if (!incoming && entry.key != "outgoing_user") continue;
    const auto account = account_of(entry);
    if (!account) continue;
    if (!incoming) {
      authentication.outgoing = *account;
    } else if (users.insert(account->user).second) {
      authentication.incoming.push_back(*account);
    } else {
      complain(entry.origin, fmt::format("incoming_user {} is there already", account->user));
    }
  }
  if (const auto wrong = check_authentication(authentication)) complain(item.section.origin, *wrong);
  const SettingValues& values = values_of(item);
  authentication.algorithms.clear();
  const std::string list = values.text("chap_algorithms");
  for (const std::string_view word : iscsi::split_list(list)) {
    bool known = false;
    for (const auto algorithm : Authentication{}.algorithms) {
      if (iscsi::name(algorithm) != word) continue;
      authentication.algorithms.push_back(algorithm);
      known = true;
    }
    if (!known)
      complain(values.origin("chap_algorithms"), fmt::format("\"{}\" is none of SHA3-256, SHA256, SHA1 and MD5", word));
  }
}

}  // namespace mpath::target
