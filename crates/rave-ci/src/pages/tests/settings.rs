//! The pages of variables, triggers, schedules and badges.

use super::world::{World, target, text};

const FILE: &str = "a:\n  script: [x]\n";
const SETTINGS: &str = "/team/app/-/settings/ci_cd";
const SCHEDULES: &str = "/team/app/-/pipeline_schedules";

async fn post(world: &World, user: &str, path: &str, body: &str) -> (u16, String) {
    text(world.send(user, "POST", path, body, &[]).await).await
}

#[tokio::test]
async fn variables_are_added_shown_on_demand_changed_and_deleted() {
    let world = World::new(FILE).await;
    for (page, of) in [
        (SETTINGS, "this project"),
        ("/-/admin/ci_cd", "this instance"),
    ] {
        let empty = world.page("root", page).await;
        assert!(
            empty.contains("No variables") && empty.contains(of),
            "{empty}"
        );
        let variables = format!("{page}/variables");
        let body =
            "key=DEPLOY&value=tell-no-one&visibility=masked&description=for+the+cloud&protected=1";
        let made = world.send("root", "POST", &variables, body, &[]).await;
        assert_eq!(target(&made), page);
        let body = "key=NEVER&value=gone-for-good&visibility=hidden";
        assert_eq!(post(&world, "root", &variables, body).await.0, 303);

        let list = world.page("root", page).await;
        assert!(
            list.contains("DEPLOY")
                && list.contains("for the cloud")
                && list.contains("masked and hidden"),
            "{list}"
        );
        assert!(
            !list.contains("tell-no-one"),
            "values are shown on demand: {list}"
        );
        let revealed = world.page("root", &format!("{page}?reveal=1")).await;
        assert!(
            revealed.contains("tell-no-one") && !revealed.contains("gone-for-good"),
            "{revealed}"
        );

        let form = world
            .page("root", &format!("{variables}/DEPLOY?scope=*"))
            .await;
        assert!(
            form.contains("tell-no-one") && form.contains("value=\"1\" checked"),
            "{form}"
        );
        let form = world
            .page("root", &format!("{variables}/NEVER?scope=*"))
            .await;
        assert!(
            !form.contains("gone-for-good") && form.contains("stays if this is left empty"),
            "{form}"
        );
        let body = "scope=*&value=&environment_scope=*";
        assert_eq!(
            post(&world, "root", &format!("{variables}/NEVER"), body)
                .await
                .0,
            303
        );
        let body = "scope=*&value=line+1%0D%0Aline+2&visibility=visible&variable_type=file&expand=1&environment_scope=*";
        assert_eq!(
            post(&world, "root", &format!("{variables}/DEPLOY"), body)
                .await
                .0,
            303
        );
        let revealed = world.page("root", &format!("{page}?reveal=1")).await;
        assert!(
            revealed.contains("line 1\nline 2") && !revealed.contains("tell-no-one"),
            "{revealed}"
        );

        let body = "key=SHORT&value=1%3C2&visibility=masked";
        let (status, wrong) = post(&world, "root", &variables, body).await;
        assert!(
            wrong.contains("cannot be masked") && wrong.contains("1&lt;2"),
            "{status} {wrong}"
        );
        assert_eq!(status, 422);
        assert_eq!(
            post(
                &world,
                "root",
                &format!("{variables}/DEPLOY/delete"),
                "scope=*"
            )
            .await
            .0,
            303
        );
        assert!(!world.page("root", page).await.contains("DEPLOY"));
    }
    assert_eq!(world.status("developer", "GET", SETTINGS).await, 403);
    assert_eq!(
        world.status("developer", "GET", "/-/admin/ci_cd").await,
        404
    );
}

#[tokio::test]
async fn a_trigger_token_is_shown_once() {
    let world = World::new(FILE).await;
    let triggers = format!("{SETTINGS}/triggers");
    let (_, made) = post(&world, "root", &triggers, "description=the+shop").await;
    assert!(
        made.contains("glptt-") && made.contains("not shown again"),
        "{made}"
    );
    let token: String = made[made.find("glptt-").unwrap()..]
        .chars()
        .take(38)
        .collect();
    let list = world.page("root", SETTINGS).await;
    assert!(
        list.contains("the shop") && list.contains("never used") && !list.contains(&token),
        "{list}"
    );
    assert!(list.contains("badges/main/pipeline.svg"), "{list}");
    assert_eq!(post(&world, "root", &triggers, "description=").await.0, 400);
    assert_eq!(
        post(&world, "root", &format!("{triggers}/1/delete"), "")
            .await
            .0,
        303
    );
    assert!(!world.page("root", SETTINGS).await.contains("the shop"));
}

#[tokio::test]
async fn schedules_are_listed_with_their_next_run() {
    let world = World::new(FILE).await;
    let empty = world.page("reporter", SCHEDULES).await;
    assert!(
        empty.contains("No schedules") && !empty.contains("New schedule"),
        "{empty}"
    );
    let form = world.page("developer", &format!("{SCHEDULES}/new")).await;
    assert!(
        form.contains("value=\"main\"") && form.contains("Europe/Berlin"),
        "{form}"
    );
    let good = "description=Nightly&cron=0+4+*+*+*&cron_timezone=Europe%2FBerlin&ref=main&active=1\
                &variables_key[]=A&variables_value[]=1&variables_type[]=file";
    assert_eq!(post(&world, "developer", SCHEDULES, good).await.0, 303);
    let list = world.page("developer", SCHEDULES).await;
    assert!(
        list.contains("Nightly") && list.contains(" 04:00 CE") && list.contains("never ran"),
        "{list}"
    );
    assert!(list.contains("/edit") && list.contains("Run now"), "{list}");
    let other = world.page("root", SCHEDULES).await;
    assert!(
        other.contains("Take ownership") && !other.contains("/edit"),
        "{other}"
    );
    let edit = world
        .page("developer", &format!("{SCHEDULES}/1/edit"))
        .await;
    assert!(
        edit.contains("value=\"A\"") && edit.contains("value=\"file\" selected"),
        "{edit}"
    );

    let bad = good
        .replace("0+4+*+*+*", "often")
        .replace("ref=main", "ref=gone");
    let (status, page) = post(&world, "developer", &format!("{SCHEDULES}/1"), &bad).await;
    assert_eq!(status, 422);
    assert!(
        page.contains("no branch or tag `gone`") && page.contains("value=\"often\""),
        "{page}"
    );
    let bad = good
        .replace("0+4+*+*+*", "often")
        .replace("Europe%2FBerlin", "Mars");
    let (_, page) = post(&world, "developer", &format!("{SCHEDULES}/1"), &bad).await;
    assert!(
        page.contains("times are not valid") && page.contains("no such time zone"),
        "{page}"
    );
    let off = good.replace("&active=1", "");
    assert_eq!(
        post(&world, "developer", &format!("{SCHEDULES}/1"), &off)
            .await
            .0,
        303
    );
    assert!(
        world
            .page("reporter", SCHEDULES)
            .await
            .contains("switched off")
    );
    assert_eq!(
        post(&world, "developer", &format!("{SCHEDULES}/1/play"), "")
            .await
            .0,
        303
    );
    assert_eq!(
        post(&world, "root", &format!("{SCHEDULES}/1/take_ownership"), "")
            .await
            .0,
        303
    );
    assert_eq!(
        world
            .status("developer", "GET", &format!("{SCHEDULES}/1/edit"))
            .await,
        403
    );
    assert_eq!(
        post(&world, "root", &format!("{SCHEDULES}/1/delete"), "")
            .await
            .0,
        303
    );
    assert!(
        world
            .page("developer", SCHEDULES)
            .await
            .contains("No schedules")
    );
}

#[tokio::test]
async fn a_badge_shows_the_newest_pipeline_of_a_branch() {
    let world = World::new(FILE).await;
    let badge = async |query: &str| {
        let path = format!("/team/app/-/badges/main/pipeline.svg{query}");
        world.page("reporter", &path).await
    };
    assert!(badge("").await.contains("pipeline: unknown"));
    let coverage = world.page("reporter", "/team/app/-/badges/main/coverage.svg");
    assert!(coverage.await.contains("coverage: unknown"));
    world.pipeline().await;
    let svg = badge("?key_text=my+build&key_width=80&style=flat-square").await;
    assert!(
        svg.contains("my build: pending") && svg.contains("x=\"80\""),
        "{svg}"
    );
    assert_eq!(
        world
            .status("reporter", "GET", "/team/app/-/badges/main/nothing.svg")
            .await,
        404
    );
    assert_eq!(
        world
            .status("stranger", "GET", "/team/app/-/badges/main/pipeline.svg")
            .await,
        404
    );
    assert_eq!(
        world
            .status(
                "reporter",
                "GET",
                "/team/app/-/badges/main/pipeline.svg?style=round"
            )
            .await,
        400
    );
}

#[tokio::test]
async fn the_address_of_the_form_brings_variables() {
    let world = World::new(FILE).await;
    let path = "/team/app/-/pipelines/new?ref=topic&var[LEVEL]=3&file_var[CERT]=abc";
    let form = world.page("developer", path).await;
    for field in [
        "value=\"topic\"",
        "value=\"LEVEL\"",
        "value=\"3\"",
        "value=\"CERT\"",
        "value=\"file\" selected",
    ] {
        assert!(form.contains(field), "{field}: {form}");
    }
    let body =
        "ref=main&variables_key[]=A&variables_key[]=A&variables_value[]=1&variables_value[]=2";
    let (status, page) = post(&world, "developer", "/team/app/-/pipelines", body).await;
    assert_eq!(status, 422);
    assert!(page.contains("Duplicate variable name: A"), "{page}");
}

#[tokio::test]
async fn the_form_asks_what_the_file_describes() {
    let file = "variables:\n  TARGET: {value: staging, options: [staging, production], description: Where to}\n  \
                NAME: {value: x, description: What to call it}\n  PLAIN: y\njob:\n  script: [echo]\n";
    let world = World::new(file).await;
    let form = world.page("developer", "/team/app/-/pipelines/new").await;
    for part in [
        "value=\"TARGET\"",
        "<option value=\"staging\" selected>",
        "<option value=\"production\">",
        "Where to",
        "What to call it",
    ] {
        assert!(form.contains(part), "{part}: {form}");
    }
    assert!(!form.contains("value=\"PLAIN\""), "{form}");
    // An answer that was refused for something else is still there.
    let body = "ref=main&variables_key[]=TARGET&variables_value[]=production&variables_type[]=env_var\
                &variables_key[]=no-name&variables_value[]=1&variables_type[]=env_var";
    let (status, page) = post(&world, "developer", "/team/app/-/pipelines", body).await;
    assert_eq!(status, 422);
    assert!(
        page.contains("<option value=\"production\" selected>"),
        "{page}"
    );
}

const ASKING: &str = "spec:\n  inputs:\n    where: {options: [staging, production], default: staging, description: Where to}\n    \
                count: {type: number}\n    dry: {type: boolean, default: false}\n---\n\
                job:\n  script: ['echo $[[ inputs.where ]] $[[ inputs.count ]] $[[ inputs.dry ]]']\n";

#[tokio::test]
async fn the_form_asks_for_inputs() {
    let world = World::new(ASKING).await;
    let address = "/team/app/-/pipelines/new?inputs[dry]=true";
    let form = world.page("developer", address).await;
    for part in [
        "Where to",
        "<option value=\"staging\" selected>",
        "type=\"number\" step=\"any\" name=\"inputs[count]\" value=\"\" required",
        "<select name=\"inputs[dry]\"><option value=\"true\" selected>",
    ] {
        assert!(form.contains(part), "{part}: {form}");
    }
    assert!(
        !form.contains("role=\"alert\""),
        "nothing is wrong yet: {form}"
    );
    let send = async |body: &str| post(&world, "developer", "/team/app/-/pipelines", body).await;
    let (status, page) =
        send("ref=main&inputs[where]=production&inputs[count]=x&inputs[dry]=false").await;
    assert_eq!(status, 422);
    assert!(
        page.contains("`count` input: provided value is not a number"),
        "{page}"
    );
    assert!(
        page.contains("<option value=\"production\" selected>"),
        "{page}"
    );
    let (status, _) =
        send("ref=main&inputs[where]=production&inputs[count]=3&inputs[dry]=false").await;
    assert_eq!(status, 303);
    let jobs = world.page("developer", "/team/app/-/pipelines/1").await;
    assert!(jobs.contains("/team/app/-/jobs/1\""), "{jobs}");
}

#[tokio::test]
async fn schedules_keep_inputs() {
    let world = World::new(ASKING).await;
    let new = "/team/app/-/pipeline_schedules/new";
    assert!(
        world
            .page("developer", new)
            .await
            .contains("name=\"inputs[count]\"")
    );
    let body = "description=Nightly&ref=main&cron=0+4+*+*+*&cron_timezone=UTC&active=1\
                &inputs[where]=staging&inputs[count]=7&inputs[dry]=true";
    let (status, page) = post(&world, "developer", "/team/app/-/pipeline_schedules", body).await;
    assert_eq!(status, 303, "{page}");
    let edit = "/team/app/-/pipeline_schedules/1/edit";
    let form = world.page("developer", edit).await;
    for part in [
        "name=\"inputs[count]\" value=\"7\"",
        "<select name=\"inputs[dry]\"><option value=\"true\" selected>",
    ] {
        assert!(form.contains(part), "{part}: {form}");
    }
}

#[tokio::test]
async fn a_manual_job_is_started_with_inputs() {
    let file = "job:\n  when: manual\n  inputs: {who: {default: world, description: Whom to greet}}\n  script: ['echo ${{ job.inputs.who }}']\n";
    let world = World::new(file).await;
    world.pipeline().await;
    let page = world.page("developer", "/team/app/-/jobs/1").await;
    assert!(
        page.contains("name=\"inputs[who]\" value=\"world\"") && page.contains("Whom to greet"),
        "{page}"
    );
    let play = "/team/app/-/jobs/1/play";
    let (status, _) = post(&world, "developer", play, "inputs[none]=x").await;
    assert_eq!(status, 400);
    let (status, _) = post(&world, "developer", play, "inputs[who]=me").await;
    assert_eq!(status, 303);
}
