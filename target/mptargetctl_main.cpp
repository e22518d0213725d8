// mptargetctl: words in, one request to mptargetd, its answer out.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/atomic_file.hpp"
#include "target/config/config_files.hpp"
#include "target/config/import.hpp"
#include "target/config/import_pair.hpp"
#include "target/config/secrets.hpp"
#include "target/mptargetctl_cluster.hpp"
#include "target/mptargetctl_control.hpp"
#include "target/mptargetctl_print.hpp"

namespace mpath::target {
namespace {

using nlohmann::json;

// KEY=VALUE... as entries of a section.
json entries_of(const std::vector<std::string>& settings) {
  json entries = json::array();
  for (const std::string& setting : settings) {
    const std::size_t equals = setting.find('=');
    if (equals == setting.npos || equals == 0)
      throw Failure{ExitCode::invalid_argument, fmt::format("\"{}\" is not KEY=VALUE", setting)};
    entries.push_back(json::array({setting.substr(0, equals), setting.substr(equals + 1)}));
  }
  return entries;
}

json object(const std::string& kind, const std::string& label, json entries = json::array()) {
  return {{"kind", kind}, {"label", label}, {"entries", std::move(entries)}};
}

std::string text_of_config(const json& answer) {
  return answer.at("text").get<std::string>();
}

void add_show(CLI::App& app, const Control& control) {
  CLI::App* show = app.add_subcommand("show", "Show what there is")->require_subcommand(1);
  struct Word {
    const char* what;
    const char* doc;
    std::string (*text)(const json&);
  };
  static constexpr Word words[] = {
      {"targets", "targets with their sessions, units, accounts and access lists", targets_text},
      {"sessions", "who is logged in", sessions_text},
      {"lus", "logical units", units_text},
      {"reservations", "persistent reservations and RESERVE", reservations_text},
      {"portals", "portal groups, and what is listened on", portals_text},
      {"accounts", "accounts, without their secrets", accounts_text},
      {"config", "the settings in force, and where they come from", text_of_config}};
  for (const Word& word : words)
    show->add_subcommand(word.what, word.doc)->callback([&control, &word] { control.show(word.what, word.text); });
}

struct Words {
  std::string name, second, third, path, size, type, alias, secret_file, target, user, initiator, address, ietd, tgt,
      drbd, ha, haresources;
  std::vector<std::string> settings;
  bool thin = true;
  bool outgoing = false;
  std::uint64_t number = 0;
};

void add_create(CLI::App& app, const Control& control, Words& words) {
  CLI::App* create = app.add_subcommand("create", "Make an object, or add to one")->require_subcommand(1);

  CLI::App* target = create->add_subcommand("target", "a target");
  target->add_option("IQN", words.name, "its name")->required();
  target->add_option("--alias", words.alias, "a name for people");
  target->add_option("--set", words.settings, "any other setting, KEY=VALUE")->type_name("KEY=VALUE");
  target->callback([&] {
    json entries = entries_of(words.settings);
    if (!words.alias.empty()) entries.push_back(json::array({"alias", words.alias}));
    control.change("object.create", object("target", words.name, std::move(entries)));
  });

  CLI::App* unit = create->add_subcommand("lu", "a logical unit, and its file when it is missing");
  unit->add_option("NAME", words.name, "its name")->required();
  unit->add_option("--path", words.path, "file or device")->type_name("FILE");
  unit->add_option("--size", words.size, "of a file that is made, of ram and null (10G)")->type_name("SIZE");
  unit->add_option("--type", words.type, "file, block, ram or null")->type_name("TYPE");
  unit->add_flag("--thin,!--thick", words.thin, "UNMAP works (default); --thick: it does not");
  unit->add_option("--set", words.settings, "any other setting, KEY=VALUE")->type_name("KEY=VALUE");
  unit->callback([&] {
    json entries = json::array();
    if (!words.path.empty()) entries.push_back(json::array({"path", std::filesystem::absolute(words.path).string()}));
    if (!words.type.empty()) entries.push_back(json::array({"type", words.type}));
    if (!words.size.empty()) entries.push_back(json::array({"size", words.size}));
    if (!words.size.empty() && (words.type.empty() || words.type == "file"))
      entries.push_back(json::array({"create", "yes"}));
    if (!words.thin) entries.push_back(json::array({"thin", "no"}));
    for (json& each : entries_of(words.settings)) entries.push_back(std::move(each));
    control.change("object.create", object("lu", words.name, std::move(entries)));
  });

  CLI::App* portal = create->add_subcommand("portal", "an address to listen on, in a portal group");
  portal->add_option("TAG", words.name, "the group's tag")->required();
  portal->add_option("ADDRESS", words.address, "ADDRESS[:PORT]")->required();
  portal->add_option("--set", words.settings, "settings of the group, KEY=VALUE")->type_name("KEY=VALUE");
  portal->callback([&] {
    json entries = entries_of(words.settings);
    entries.push_back(json::array({"portal", words.address}));
    json args = object("portal_group", words.name, std::move(entries));
    args["create"] = true;
    control.change("object.add", args);
  });

  CLI::App* account = create->add_subcommand("account", "a user and its secret");
  account->add_option("USER", words.user, "its name")->required();
  account->add_option("--secret-file", words.secret_file, "a file that only its owner may read; its path is kept")
      ->required()
      ->type_name("FILE");
  account->callback([&] {
    const std::string file = std::filesystem::absolute(words.secret_file).string();
    json entries = json::array();
    entries.push_back(json::array({"secret_file", file}));
    control.change("object.create", object("account", words.user, std::move(entries)));
  });

  CLI::App* acl = create->add_subcommand("acl", "who may see a target");
  acl->add_option("IQN", words.target, "the target")->required();
  acl->add_option("--initiator", words.initiator, "an iSCSI name, * at its end stands for anything")->type_name("NAME");
  acl->add_option("--address", words.address, "an address or prefix")->type_name("ADDRESS");
  acl->callback([&] {
    json entries = json::array();
    if (!words.initiator.empty()) entries.push_back(json::array({"allow_initiator", words.initiator}));
    if (!words.address.empty()) entries.push_back(json::array({"allow_address", words.address}));
    if (entries.empty()) throw Failure{ExitCode::invalid_argument, "acl needs --initiator or --address"};
    control.change("object.add", object("target", words.target, std::move(entries)));
  });
}

void add_remove(CLI::App& app, const Control& control, Words& words) {
  CLI::App* remove = app.add_subcommand("remove", "Take an object away; data is never deleted")->require_subcommand(1);
  for (const auto& [kind, label] :
       {std::pair("target", "IQN"), std::pair("lu", "NAME"), std::pair("account", "USER")}) {
    CLI::App* word = remove->add_subcommand(kind, fmt::format("a{} {}", *kind == 'a' ? "n" : "", kind));
    word->add_option(label, words.name, "its name")->required();
    word->callback([&, kind] { control.change("object.remove", object(kind, words.name)); });
  }
  CLI::App* portal = remove->add_subcommand("portal", "a portal, or without ADDRESS its whole group");
  portal->add_option("TAG", words.name, "the group's tag")->required();
  portal->add_option("ADDRESS", words.address, "ADDRESS[:PORT]");
  portal->callback([&] {
    if (words.address.empty()) return control.change("object.remove", object("portal_group", words.name));
    json entries = json::array();
    entries.push_back(json::array({"portal", words.address}));
    control.change("object.drop", object("portal_group", words.name, std::move(entries)));
  });
  CLI::App* acl = remove->add_subcommand("acl", "an entry of an access list");
  acl->add_option("IQN", words.target, "the target")->required();
  acl->add_option("--initiator", words.initiator, "the entry")->type_name("NAME");
  acl->add_option("--address", words.address, "the entry")->type_name("ADDRESS");
  acl->callback([&] {
    json entries = json::array();
    if (!words.initiator.empty()) entries.push_back(json::array({"allow_initiator", words.initiator}));
    if (!words.address.empty()) entries.push_back(json::array({"allow_address", words.address}));
    if (entries.empty()) throw Failure{ExitCode::invalid_argument, "acl needs --initiator or --address"};
    control.change("object.drop", object("target", words.target, std::move(entries)));
  });
}

void add_bindings(CLI::App& app, const Control& control, Words& words) {
  CLI::App* map = app.add_subcommand("map", "Give a target a unit under a number");
  map->add_option("IQN", words.target, "the target")->required();
  map->add_option("LUN", words.number, "the number")->required();
  map->add_option("NAME", words.name, "the unit")->required();
  map->callback([&] {
    json entries = json::array();
    entries.push_back(json::array({"lun", std::to_string(words.number), words.name}));
    control.change("object.add", object("target", words.target, std::move(entries)));
  });
  CLI::App* unmap = app.add_subcommand("unmap", "Take a number away from a target");
  unmap->add_option("IQN", words.target, "the target")->required();
  unmap->add_option("LUN", words.number, "the number")->required();
  unmap->callback([&] {
    json entries = json::array();
    entries.push_back(json::array({"lun", std::to_string(words.number)}));
    control.change("object.drop", object("target", words.target, std::move(entries)));
  });
  for (const bool binds : {true, false}) {
    CLI::App* bind = binds ? app.add_subcommand("bind", "Let an account log in to a target")
                           : app.add_subcommand("unbind", "Do not let it any more");
    bind->add_option("USER", words.user, "the account")->required();
    bind->add_option("IQN", words.target, "the target")->required();
    bind->add_flag("--outgoing", words.outgoing, "who the target is, when an initiator asks");
    bind->callback([&, binds] {
      json entries = json::array();
      entries.push_back(json::array({words.outgoing ? "outgoing_user" : "incoming_user", words.user}));
      control.change(binds ? "object.add" : "object.drop", object("target", words.target, std::move(entries)));
    });
  }
}

void add_units(CLI::App& app, const Control& control, Words& words) {
  CLI::App* grow = app.add_subcommand("grow", "Make a unit larger while it is in use")->require_subcommand(1);
  CLI::App* unit = grow->add_subcommand("lu", "to SIZE, or to what its medium has become");
  unit->add_option("NAME", words.name, "the unit")->required();
  unit->add_option("SIZE", words.size, "20G");
  unit->callback([&] {
    json args{{"lu", words.name}};
    if (!words.size.empty()) args["size"] = words.size;
    control.change("lu.grow", args);
  });
  CLI::App* set = app.add_subcommand("set", "Change a state")->require_subcommand(1);
  CLI::App* alua = set->add_subcommand("alua", "of a target port group, for one unit");
  alua->add_option("NAME", words.name, "the unit")->required();
  alua->add_option("GROUP", words.number, "the target port group")->required();
  alua->add_option("STATE", words.second, "the state")->required();
  alua->callback(
      [&] { control.change("lu.alua", {{"lu", words.name}, {"group", words.number}, {"state", words.second}}); });
  CLI::App* clear = app.add_subcommand("clear", "Take something away from initiators")->require_subcommand(1);
  CLI::App* reservations = clear->add_subcommand("reservations", "all registrations and reservations of a unit");
  reservations->add_option("NAME", words.name, "the unit")->required();
  reservations->callback([&] { control.change("lu.clear_reservations", {{"lu", words.name}}); });
  CLI::App* medium = app.add_subcommand("medium", "The medium of a removable unit")->require_subcommand(1);
  for (const bool insert : {true, false}) {
    CLI::App* word = medium->add_subcommand(insert ? "insert" : "eject", insert ? "puts it in" : "takes it out");
    word->add_option("NAME", words.name, "the unit")->required();
    word->callback([&, insert] { control.change("lu.medium", {{"lu", words.name}, {"present", insert}}); });
  }
  CLI::App* drill = app.add_subcommand("drill", "Put faults in front of a unit; without SPECS take them out");
  drill->add_option("NAME", words.name, "the unit")->required();
  drill->add_option("SPECS", words.second, "\"delay:all=5ms;error:rate=0.01\"");
  drill->callback([&] { control.change("lu.drill", {{"lu", words.name}, {"specs", words.second}}); });
}

void add_daemon(CLI::App& app, const Control& control, Words& words) {
  CLI::App* disconnect = app.add_subcommand("disconnect", "Drop a session");
  disconnect->add_option("SID", words.number, "its number, as `show sessions` has it")->required();
  disconnect->callback([&] { control.change("session.disconnect", {{"sid", words.number}}); });
  app.add_subcommand("reload", "Read the files again and apply what differs")->callback([&] {
    const json answer = control.ask("reload", json::object());
    if (control.as_json) return print(stdout, answer.dump(2) + "\n");
    for (const json& line : answer.at("plan")) print(stdout, line.get<std::string>() + "\n");
  });
  app.add_subcommand("shutdown", "Log initiators out and stop")->callback([&] {
    control.change("shutdown", json::object());
  });
}

std::string text_of_file(const std::string& file) {
  auto text = read_file(file, config_bytes_max);
  if (!text) throw Failure{ExitCode::generic, fmt::format("{}: {}", file, text.error().message())};
  return std::move(*text);
}

Imported import_of(const Words& words) {
  if (!words.ietd.empty()) return import_ietd(text_of_file(words.ietd), words.ietd);
  if (!words.tgt.empty()) return import_tgt(text_of_file(words.tgt), words.tgt);
  PairFiles files{.drbd = {words.drbd, text_of_file(words.drbd)}};
  if (!words.ha.empty()) files.ha = {words.ha, text_of_file(words.ha)};
  if (!words.haresources.empty()) files.haresources = {words.haresources, text_of_file(words.haresources)};
  return import_pair(files, [] { return format_uuid(make_uuid()); });
}

void add_import(CLI::App& app, Words& words) {
  CLI::App* import = app.add_subcommand("import", "Print another target's or pair's configuration as mptarget.conf");
  CLI::App* source = import->add_option_group("SOURCE")->require_option(1);
  source->add_option("--ietd", words.ietd, "an ietd.conf")->type_name("FILE");
  source->add_option("--tgt", words.tgt, "a targets.conf of tgt")->type_name("FILE");
  CLI::Option* drbd = source->add_option("--drbd", words.drbd, "a drbd.conf: the pair")->type_name("FILE");
  import->add_option("--ha", words.ha, "with --drbd: the ha.cf of Heartbeat")->type_name("FILE")->needs(drbd);
  import->add_option("--haresources", words.haresources, "with --drbd: Heartbeat's haresources")
      ->type_name("FILE")
      ->needs(drbd);
  import->callback([&] {
    const Imported imported = import_of(words);
    print(stdout, imported.text);
    const bool pair = !words.drbd.empty();
    const std::string& file = pair ? words.drbd : words.ietd.empty() ? words.tgt : words.ietd;
    if (!imported.readable)
      throw Failure{ExitCode::no_objects_found,
                    fmt::format("{}: holds no {}", file, pair ? "resource of two nodes" : "target")};
    if (imported.lost != 0)
      print(stderr, fmt::format("mptargetctl: {} line{} could not be expressed: see the comments\n", imported.lost,
                                imported.lost == 1 ? "" : "s"));
  });
}

int run(int argc, char** argv) {
  Control control;
  Words words;
  ClusterWords cluster_words;
  CLI::App app("Administration of mptargetd", "mptargetctl");
  app.add_option("--root", control.root, "Move every file below DIR")->type_name("DIR");
  app.add_flag("-j,--json", control.as_json, "Answer with JSON");
  app.set_version_flag("-V,--version", "mptargetctl " MPTARGETD_VERSION);
  app.require_subcommand(0, 1);  // so that a word that is none is named
  app.fallthrough();
  add_show(app, control);
  add_create(app, control, words);
  add_remove(app, control, words);
  add_bindings(app, control, words);
  add_units(app, control, words);
  add_daemon(app, control, words);
  add_cluster_words(app, control, cluster_words);
  add_import(app, words);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty())
      throw Failure{ExitCode::invalid_argument, "a command is needed (mptargetctl --help)"};
  } catch (const CLI::CallForHelp&) {
    print(stdout, app.help());
  } catch (const CLI::CallForVersion&) {
    print(stdout, app.version() + "\n");
  } catch (const CLI::ParseError& error) {
    // Help of a subcommand comes this way too.
    if (error.get_exit_code() == 0) return app.exit(error);
    print(stderr, fmt::format("mptargetctl: {} (mptargetctl --help)\n", error.what()));
    return static_cast<int>(ExitCode::invalid_argument);
  } catch (const Failure& failure) {
    print(stderr, fmt::format("mptargetctl: {}\n", failure.text));
    return static_cast<int>(failure.code);
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace mpath::target

int main(int argc, char** argv) {
  try {
    return mpath::target::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mptargetctl: %s\n", error.what());
    return 1;
  }
}
