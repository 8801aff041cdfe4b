package android.app;

import android.content.Context;
import android.content.Intent;
import android.os.Bundle;
import android.view.View;

public class Activity extends Context {
    public static final int RESULT_OK = -1;

    protected void onCreate(Bundle savedInstanceState) {}

    protected void onActivityResult(int requestCode, int resultCode, Intent data) {}

    protected void onDestroy() {}

    public void setContentView(int layoutResID) {}

    public <T extends View> T findViewById(int id) {
        return null;
    }

    public void startActivityForResult(Intent intent, int requestCode) {}

    public final void runOnUiThread(Runnable action) {}
}
